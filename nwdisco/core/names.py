"""What an advert may say: its name, its address text, its properties, its time to live.

Used at the call (so that the caller sees the error at once) and again for what comes from a network.
Standard library only: the blocking client imports it.
"""

from __future__ import annotations

import json

from .. import config
from ..errors import AdvertError

LONGEST_WAIT_S = 1e9
"""Clocks and selectors overflow somewhere past it."""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping


def json_bytes(value: object) -> int:
    """How many bytes a value takes as compact JSON in UTF-8; AdvertError when it is no Unicode text."""
    try:
        return len(json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode("utf-8"))
    except UnicodeEncodeError as error:
        raise AdvertError(
            f"{str(value)[:60]!r} holds half a character (a lone surrogate): use text that UTF-8 can carry"
        ) from error


def is_clean(text: str) -> bool:
    """No control character and no line break: such a text cannot garble a terminal or a log."""
    return text.isprintable() or not any(
        char < " " or "\x7f" <= char <= "\x9f" or char in "\u2028\u2029" for char in text
    )


def check_name(name: object, what: str = "name") -> str:
    if not isinstance(name, str):
        raise AdvertError(f"the {what} is {name!r}, of type {type(name).__name__}: give text, such as 'printer/a'")
    if not name:
        raise AdvertError(f"the {what} is empty: give text, such as 'printer/a'")
    if not is_clean(name):
        raise AdvertError(f"the {what} {name[:60]!r} holds a control character or a line break: leave it out")
    if json_bytes(name) - 2 > config.MAX_NAME_BYTES:
        raise AdvertError(f"the {what} {name[:40]!r}... is over {config.MAX_NAME_BYTES} bytes: shorten it")
    return name


def check_address_text(address: str) -> str:
    """An address as an advert carries it, in whatever form; `ip:port` forms are addresses.py's business."""
    if not address or not is_clean(address) or json_bytes(address) - 2 > config.MAX_ADDRESS_BYTES:
        raise AdvertError(
            f"the address {address[:40]!r} is empty, over {config.MAX_ADDRESS_BYTES} bytes or holds a control character"
        )
    return address


def check_properties(properties: Mapping[str, str] | None) -> dict[str, str]:
    if properties is None:
        return {}
    try:
        pairs = dict(properties)
    except (TypeError, ValueError):
        raise AdvertError(f"properties are {properties!r}: give a dict of text to text") from None
    for key, value in pairs.items():
        if not isinstance(key, str) or not isinstance(value, str):
            raise AdvertError(
                f"the property {key!r}: {value!r} is not text to text: write {str(key)!r}: {str(value)!r}"
            )
        if not key:
            raise AdvertError(f"a property with the value {value[:60]!r} has an empty name: name it")
        if not is_clean(key):
            raise AdvertError(f"the property name {key[:60]!r} holds a control character: leave it out")
    size = json_bytes(pairs)
    if size > config.MAX_PROPERTIES_BYTES:
        raise AdvertError(
            f"the properties take {size} bytes, and {config.MAX_PROPERTIES_BYTES} is the most: serve what is large"
            " at the address itself"
        )
    return pairs


def check_ttl(ttl_s: object) -> float:
    if isinstance(ttl_s, bool) or not isinstance(ttl_s, int | float):
        raise AdvertError(f"ttl_s is {ttl_s!r}: give a number of seconds")
    if not config.MIN_TTL_S <= ttl_s <= config.MAX_TTL_S:
        raise AdvertError(f"ttl_s is {ttl_s}: give {config.MIN_TTL_S:g} to {config.MAX_TTL_S:g} seconds")
    return float(ttl_s)


def check_wait(wait_for_s: object) -> float | None:
    """Seconds to wait as a float, None for FOREVER and for what is longer than anybody waits."""
    if wait_for_s is config.FOREVER:
        return None
    if isinstance(wait_for_s, bool) or not isinstance(wait_for_s, int | float):
        raise ValueError(f"wait_for_s is {wait_for_s!r}: give a number of seconds, or FOREVER")
    if not wait_for_s >= 0:
        raise ValueError(f"wait_for_s is {wait_for_s}: give 0 or more seconds, or FOREVER")
    return None if wait_for_s > LONGEST_WAIT_S else float(wait_for_s)
