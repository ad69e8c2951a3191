"""Who was discovered where, by this process: for the messenger, which gets addresses and may be asked about names."""

from __future__ import annotations

MOST = 10_000

_names: dict[str, set[str]] = {}


def note(name: str, address: str) -> None:
    if len(_names) >= MOST:
        _names.clear()
    _names.setdefault(address, set()).add(name)


def known(address: str) -> set[str]:
    """The names that were discovered at an address."""
    return set(_names.get(address, ()))
