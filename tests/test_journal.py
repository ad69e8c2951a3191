"""The journal: whoever applies what it tells, from whatever version on, ends with what it holds."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nwdisco import config
from nwdisco.core.advert import Advert
from nwdisco.core.journal import SLACK, Journal


def advert(name: str, ttl_s: float = config.TTL_S, port: int = 1) -> Advert:
    return Advert(name, f"10.0.0.1:{port}", {}, ttl_s, "node-own", "program", 0.0)


def said(journal: Journal) -> dict[str, Advert]:
    return {line.name: line.advert for line in journal.since(0, journal.version) if line.advert is not None}


def apply(journal: Journal, since: int, until: int, to: dict[str, Advert]) -> None:
    for line in journal.since(since, until):
        if line.advert is None:
            to.pop(line.name, None)
        else:
            to[line.name] = line.advert


writes = st.lists(st.tuples(st.sampled_from("abcdef"), st.none() | st.integers(1, 9)), max_size=200)


@settings(max_examples=150)
@given(writes, st.data())
def test_a_follower_that_applies_the_changes_after_its_version_ends_with_what_the_journal_holds(
    done: list[tuple[str, int | None]], data: st.DataObject
) -> None:
    journal = Journal()
    model: dict[str, Advert] = {}
    follower: dict[str, Advert] = {}
    version = 0
    for number, (name, port) in enumerate(done):
        made = None if port is None else advert(name, float(port), port)
        journal.write(name, made, float(number))
        if made is None:
            model.pop(name, None)
        else:
            model[name] = made
        if data.draw(st.booleans()):
            since = data.draw(st.integers(0, version), "from a version that it holds, or an earlier one")
            until = data.draw(st.integers(version, journal.version))
            apply(journal, since, until, follower)
            version = until
    apply(journal, version, journal.version, follower)
    assert follower == model == said(journal)
    assert journal.count == len(model)
    assert journal.shortest_ttl_s() == min((a.ttl_s for a in model.values()), default=config.TTL_S)


@given(writes, st.integers(0, 200), st.integers(0, 200))
def test_what_is_told_is_in_the_order_of_versions_and_within_the_bounds(
    done: list[tuple[str, int | None]], since: int, until: int
) -> None:
    journal = Journal()
    for name, port in done:
        journal.write(name, None if port is None else advert(name), 0.0)
    versions = [line.version for line in journal.since(since, until)]
    assert all(one < other for one, other in pairwise(versions))
    assert all(since < version <= until for version in versions)


def test_more_removals_than_are_kept_raise_the_horizon_and_a_reader_from_the_start_is_right(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(config, "MAX_TOMBSTONES", 10)
    journal = Journal()
    for number in range(30):
        journal.write(str(number), advert(str(number)), 0.0)
    assert journal.horizon == 0
    for number in range(25):
        journal.write(str(number), None, 0.0)
    assert journal.horizon == 45, "of the removals at versions 31 to 55, ten are kept"
    assert set(said(journal)) == {"25", "26", "27", "28", "29"}
    follower = {str(number): advert(str(number)) for number in range(15, 30)}
    apply(journal, journal.horizon, journal.version, follower)
    assert set(follower) == {"25", "26", "27", "28", "29"}, "at the horizon nothing is missed yet"


def test_a_name_that_came_back_is_no_removal_thrown_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(config, "MAX_TOMBSTONES", 2)
    journal = Journal()
    journal.write("a", None, 0.0)
    journal.write("a", advert("a"), 0.0)
    journal.write("b", None, 0.0)
    journal.write("c", None, 0.0)
    assert journal.horizon == 0
    assert set(said(journal)) == {"a"}


def test_a_name_written_for_ever_takes_no_more_room() -> None:
    journal = Journal()
    for number in range(10_000):
        journal.write("a", advert("a", port=number), float(number))
    assert len(journal._roll) <= 2 + SLACK
    assert [line.version for line in journal.since(0, journal.version)] == [10_000]


def test_the_version_before_what_was_written_lately_tells_all_of_that_and_no_more_than_so_much() -> None:
    journal = Journal()
    for number in range(100):
        journal.write(str(number), advert(str(number)), float(number))
    assert len(list(journal.since(journal.version_before(90.0, most=40), 100))) == 10
    assert len(list(journal.since(journal.version_before(0.0, most=40), 100))) == 40
    assert journal.version_before(-1.0, most=200) == 0


def test_a_turned_page_is_a_version_with_nothing_new() -> None:
    journal = Journal()
    journal.write("a", advert("a"), 0.0)
    journal.turn_page()
    assert journal.version == 2
    assert list(journal.since(1, 2)) == []
