"""Every error that nwdisco raises, as one tree: catch `NwdiscoError` for all of them.

Each message says what happened, to what, and what to do about it.
"""

from __future__ import annotations


class NwdiscoError(Exception):
    """The root of the tree."""


class AdvertError(NwdiscoError, ValueError):
    """A name, a time to live or properties that no advert can have."""


class NameTakenError(NwdiscoError):
    """`fail_if_exists` was asked for, and somebody on the network has this name already."""

    def __init__(self, name: str, address: str) -> None:
        self.name = name
        self.address = address
        super().__init__(
            f"{name!r} is advertised already, at {address}: choose another name, or leave out fail_if_exists"
        )

    def __reduce__(self) -> tuple[type[NameTakenError], tuple[str, str]]:
        return type(self), (self.name, self.address)


class AddressError(NwdiscoError, ValueError):
    """An address that cannot be used."""


class NoAddressFoundError(AddressError):
    """This machine has no address that fits what was asked for."""


class InvalidAddressError(AddressError):
    """A host name that does not resolve, or text that is no address at all."""


class SettingError(NwdiscoError, ValueError):
    """An environment variable or option with a value that cannot be used."""


class BeaconError(NwdiscoError):
    """The beacon of this machine cannot be started or reached, or it refused a request."""


class BeaconRunningError(BeaconError):
    """A second beacon cannot be started: the user has one already."""


class BeaconStuckError(BeaconError):
    """The beacon that runs does not answer."""


class BeaconVersionError(BeaconError):
    """The beacon that runs belongs to another version of nwdisco."""


class MessageError(NwdiscoError, TypeError):
    """A message that cannot be sent: no JSON can hold it, it is too large, or there is nobody to reply to."""


class SocketTimedOutError(NwdiscoError):
    """No reply came in time. The next send starts afresh."""

    def __init__(self, n_seconds: float) -> None:
        self.n_seconds = n_seconds
        super().__init__(
            f"no reply within {n_seconds:g} s: it may still be at work, or not be listening; send again to try again"
        )

    def __reduce__(self) -> tuple[type[SocketTimedOutError], tuple[float]]:
        return type(self), (self.n_seconds,)


class SocketInterruptedError(NwdiscoError, KeyboardInterrupt):
    """Ctrl-C, while a message, a reply or news was waited for. Who catches KeyboardInterrupt catches it."""

    def __init__(self, after_n_seconds: float) -> None:
        self.after_n_seconds = after_n_seconds
        super().__init__(f"interrupted after {after_n_seconds:.1f} s")

    def __reduce__(self) -> tuple[type[SocketInterruptedError], tuple[float]]:
        return type(self), (self.after_n_seconds,)


class SocketAlreadyExistsError(NwdiscoError):
    """Somebody listens or publishes at this address already: another program, or this one in the other way."""


class ServiceGoneError(NwdiscoError):
    """The service ended, or left the network, before it replied."""


class DifferentThreadError(NwdiscoError):
    """Never raised: any thread may use any address. NetworkZero has it."""


class RegistryError(NwdiscoError):
    """A registry, or the etcd behind one, refused what was asked of it."""


class RegistryKeyError(RegistryError, ValueError):
    """A key or a value that no registry can hold."""


class RegistryUnavailableError(RegistryError):
    """A registry could not be reached in time: what was asked may have happened, or not."""


class RegistryAccessError(RegistryError):
    """A registry refused the user, the password or the certificate."""


class NoInstanceError(NwdiscoError):
    """No instance of a service is there, or none that its strategy would pick."""


NetworkZeroError = NwdiscoError
"""Its name in programs that were written for NetworkZero."""
