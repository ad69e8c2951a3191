"""Sorted names against a plain sorted list, with pieces so small that they are cut and given up all the time."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nwdisco.core import sorted_names
from nwdisco.core.sorted_names import SortedNames

names = st.text("ab/é", min_size=1, max_size=5)


@pytest.fixture(autouse=True, scope="module")
def _small_pieces() -> object:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sorted_names, "MOST", 3)
        yield


@given(st.lists(names, max_size=60), st.lists(names, max_size=5))
def test_they_are_what_was_added_and_not_removed_in_order(toggled: list[str], prefixes: list[str]) -> None:
    kept, there = SortedNames(), set[str]()
    for name in toggled:
        if name in there:
            kept.remove(name)
        else:
            kept.add(name)
        there ^= {name}
        assert list(kept) == sorted(there)
        assert all(0 < len(piece) <= 3 for piece in kept._pieces)
    for prefix in ("", "a", "a/", *prefixes):
        wanted = sorted(other for other in there if other.startswith(prefix))
        assert kept.beginning_with(prefix) == wanted
        assert kept.count(prefix) == len(wanted)


def test_many_are_in_pieces_of_a_bounded_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    kept = SortedNames()
    for number in range(5_000):
        kept.add(f"lamp/{number * 7919 % 5_000:04}")
    assert list(kept) == [f"lamp/{number:04}" for number in range(5_000)]
    assert kept.count("lamp/1") == 1_000
    assert max(map(len, kept._pieces)) <= sorted_names.MOST
