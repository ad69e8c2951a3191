"""Service discovery on a local network that needs no set-up.

    import nwdisco as nw0
    address = nw0.advertise("printer/a")      # in one program
    nw0.discover("printer/a")                 # in another, on any machine

The verbs are in discovery.py; `from nwdisco import aio` has them for asyncio. Importing this costs next to nothing: what a verb
needs comes with its first use.
"""

from __future__ import annotations

from .config import FOREVER
from .errors import (
    AddressError,
    AdvertError,
    BeaconError,
    BeaconRunningError,
    BeaconVersionError,
    InvalidAddressError,
    NameTakenError,
    NoAddressFoundError,
    NwdiscoError,
    SettingError,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .discovery import advertise, discover, discover_all, discover_group, unadvertise, watch
    from .results import Event, Service
    from .watching import Watch

__all__ = [
    "FOREVER",
    "AddressError",
    "AdvertError",
    "BeaconError",
    "BeaconRunningError",
    "BeaconVersionError",
    "Event",
    "InvalidAddressError",
    "NameTakenError",
    "NoAddressFoundError",
    "NwdiscoError",
    "Service",
    "SettingError",
    "Watch",
    "advertise",
    "discover",
    "discover_all",
    "discover_group",
    "unadvertise",
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
}


def __getattr__(name: str) -> object:
    """Take in a verb's module when the verb is first used (PEP 562)."""
    if name in _HOMES:
        from importlib import import_module

        value = getattr(import_module(f".{_HOMES[name]}", __name__), name)
        globals()[name] = value
        return value
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
