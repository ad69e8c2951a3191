"""How many datagrams are read from one address, and whose count is forgotten when there are too many."""

from __future__ import annotations

import pytest

from nwdisco import config
from nwdisco.core.sources import Sources


def test_of_too_many_addresses_the_one_silent_longest_begins_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    """And not the one known longest: who floods is never silent, and so never forgotten."""
    monkeypatch.setattr(config, "MAX_SOURCES", 2)
    monkeypatch.setattr(config, "SOURCE_PER_S", 1.0)
    sources = Sources()
    read = [
        (ip, sources.admits(ip, 0.0)) for ip in ("known longest", "silent", "known longest", "new", "known longest")
    ]
    assert read == [
        ("known longest", True),
        ("silent", True),
        ("known longest", False),
        ("new", True),
        ("known longest", False),
    ]
    assert sources.admits("silent", 0.0)
