"""What the verbs ask of the beacon, checked at the call: shared by the blocking and the asyncio client."""

from __future__ import annotations

from . import addresses
from .core import names
from .errors import AdvertError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from typing import Any


def advertise(
    name: str,
    address: str | int | None,
    fail_if_exists: bool,
    ttl_s: float,
    properties: Mapping[str, str] | None,
) -> dict[str, Any]:
    names.check_name(name)
    properties = names.check_properties(properties)
    ttl_s = names.check_ttl(ttl_s)
    return {
        "do": "advertise",
        "name": name,
        "address": addresses.complete(address),
        "properties": properties,
        "ttl_s": ttl_s,
        "fail_if_exists": bool(fail_if_exists),
    }


def discover(name: str, wait_s: float | None) -> dict[str, Any]:
    return {"do": "discover", "name": names.check_name(name), "wait_s": wait_s}


def discover_all() -> dict[str, Any]:
    return {"do": "list"}


def discover_group(group: str, separator: str, exclude: str | Iterable[str] | None) -> dict[str, Any]:
    try:
        excluded = [exclude] if isinstance(exclude, str) else list(exclude or ())
    except TypeError:
        raise AdvertError(f"exclude is {exclude!r}: give a name, or several in a list or set") from None
    for name in excluded:
        names.check_name(name, "name to exclude")
    return {
        "do": "list",
        "group": names.check_name(group, "group"),
        "separator": names.check_name(separator, "separator"),
        "exclude": excluded,
    }


def watch(group: str | None, separator: str) -> dict[str, Any]:
    if group is None:
        return {"do": "watch"}
    return {
        "do": "watch",
        "group": names.check_name(group, "group"),
        "separator": names.check_name(separator, "separator"),
    }
