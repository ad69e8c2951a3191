"""Every error that nwdisco raises, as one tree: catch `NwdiscoError` for all of them.

Each message says what happened, to what, and what to do about it.
"""


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
