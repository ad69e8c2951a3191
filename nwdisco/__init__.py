"""Service discovery on a local network that needs no set-up.

    import nwdisco as nw0
    address = nw0.advertise("printer/a")      # in one program
    nw0.discover("printer/a")                 # in another, on any machine

The verbs are in discovery.py and messenger.py; `from nwdisco import aio` has them for asyncio. Importing this costs next to
nothing: what a verb needs comes with its first use.
"""

from __future__ import annotations

from .config import FOREVER
from .errors import (
    AddressError,
    AdvertError,
    BeaconError,
    BeaconRunningError,
    BeaconVersionError,
    DifferentThreadError,
    InvalidAddressError,
    MessageError,
    NameTakenError,
    NetworkZeroError,
    NoAddressFoundError,
    NwdiscoError,
    ServiceGoneError,
    SettingError,
    SocketAlreadyExistsError,
    SocketInterruptedError,
    SocketTimedOutError,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .addressbook import address
    from .discovery import advertise, discover, discover_all, discover_group, unadvertise, watch
    from .helpers import action_and_params, bytes_to_string, string_to_bytes
    from .messenger import send_message_to, send_news_to, send_reply_to, wait_for_message_from, wait_for_news_from
    from .results import Event, Service
    from .watching import Watch

__all__ = [
    "FOREVER",
    "AddressError",
    "AdvertError",
    "BeaconError",
    "BeaconRunningError",
    "BeaconVersionError",
    "DifferentThreadError",
    "Event",
    "InvalidAddressError",
    "MessageError",
    "NameTakenError",
    "NetworkZeroError",
    "NoAddressFoundError",
    "NwdiscoError",
    "Service",
    "ServiceGoneError",
    "SettingError",
    "SocketAlreadyExistsError",
    "SocketInterruptedError",
    "SocketTimedOutError",
    "Watch",
    "action_and_params",
    "address",
    "advertise",
    "bytes_to_string",
    "discover",
    "discover_all",
    "discover_group",
    "send_message_to",
    "send_news_to",
    "send_reply_to",
    "string_to_bytes",
    "unadvertise",
    "wait_for_message_from",
    "wait_for_news_from",
    "watch",
]

_HOMES = {
    "advertise": "discovery",
    "discover": "discovery",
    "discover_all": "discovery",
    "discover_group": "discovery",
    "unadvertise": "discovery",
    "watch": "discovery",
    "Event": "results",
    "Service": "results",
    "Watch": "watching",
    "address": "addressbook",
    "action_and_params": "helpers",
    "bytes_to_string": "helpers",
    "string_to_bytes": "helpers",
    "send_message_to": "messenger",
    "wait_for_message_from": "messenger",
    "send_reply_to": "messenger",
    "send_news_to": "messenger",
    "wait_for_news_from": "messenger",
}


def __getattr__(name: str) -> object:
    """Take in a verb's module when the verb is first used (PEP 562)."""
    if name in _HOMES:
        from importlib import import_module

        value = getattr(import_module(f".{_HOMES[name]}", __name__), name)
        globals()[name] = value
        return value
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
