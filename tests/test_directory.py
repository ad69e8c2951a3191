"""The directory against a model that is too simple to be wrong, and its single promises."""

from __future__ import annotations

from collections.abc import Iterable

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from nwdisco import config
from nwdisco.core.advert import Advert
from nwdisco.core.directory import Directory, Event

US = "node-own"
NAMES = ["a", "a/b", "a/b/c", "a/c", "ab", "b", "b/a", "é/x"]
names = st.sampled_from(NAMES)
programs = st.sampled_from(["program1", "program2"])
nodes = st.sampled_from(["node-one", "node-two"])
lives = st.sampled_from([1.0, 5.0, 20.0])
ports = st.sampled_from([":1", ":2"])


def advert(
    name: str,
    holder: str = "program1",
    node: str = US,
    port: str = ":1",
    ttl_s: float = config.TTL_S,
    born: float = 0.0,
    rank: int = 0,
) -> Advert:
    return Advert(name, "10.0.0.1" + port, {}, ttl_s, node, holder, born, rank)


class DirectoryAndModel(RuleBasedStateMachine):
    """`held` is the model: every advert by its holder and name; `ended`: those that are still to be dropped."""

    def __init__(self) -> None:
        super().__init__()
        self.directory = Directory(US)
        self.held: dict[tuple[str, str], Advert] = {}
        self.ended: dict[tuple[str, str], Advert] = {}
        self.heard_at: dict[str, float] = {}
        self.now = 0.0
        self.replayed: dict[str, Advert] = {}
        self.own: dict[str, Advert] = {}
        self.directory.on_event.append(self.replay)
        self.directory.on_own.append(self.note_own)

    def replay(self, event: Event) -> None:
        name = event.advert.name
        if event.kind == "left":
            assert name in self.replayed, "left without having joined"
            del self.replayed[name]
        else:
            assert (name in self.replayed) == (event.kind == "changed")
            self.replayed[name] = event.advert

    def note_own(self, name: str, own: Advert | None) -> None:
        assert self.own.get(name) is not own, "told of nothing new"
        if own is None:
            del self.own[name]
        else:
            self.own[name] = own

    def take_off(self, gone: Iterable[tuple[str, str]]) -> dict[tuple[str, str], Advert]:
        taken = {}
        for key in list(gone):
            taken[key] = self.held.pop(key)
            self.forget_silence(key[0])
        return taken

    def forget_silence(self, holder: str) -> None:
        if not any(other == holder for other, _ in self.held):
            self.heard_at.pop(holder, None)

    @rule(name=names, holder=programs, port=ports, ttl_s=lives)
    def a_program_puts(self, name: str, holder: str, port: str, ttl_s: float) -> None:
        made = advert(name, holder, US, port, ttl_s, self.now, self.directory.next_rank(name, self.now))
        assert self.directory.put(made)
        self.held[holder, name] = made

    @rule(name=names, node=nodes, port=ports, ttl_s=lives, rank=st.integers(0, 3))
    def a_node_puts(self, name: str, node: str, port: str, ttl_s: float, rank: int) -> None:
        made = advert(name, node, node, port, ttl_s, self.now, rank)
        assert self.directory.put(made, self.now)
        self.held[node, name] = made
        self.ended.pop((node, name), None)
        self.heard_at.setdefault(node, self.now)
        for holder in ("program1", "program2"):  # an own advert that was made later may have been raised over it
            mine = next((a for a in self.directory.held_by(holder) if a.name == name), None)
            if mine is not None:
                assert mine.says_the_same_as(self.held[holder, name])
                self.held[holder, name] = mine

    @rule(name=names, holder=programs | nodes)
    def remove(self, name: str, holder: str) -> None:
        assert self.directory.remove(holder, name) == ((holder, name) in self.held)
        self.take_off(key for key in self.held if key == (holder, name))

    @rule(holder=programs | nodes)
    def remove_all(self, holder: str) -> None:
        self.directory.remove_all(holder)
        self.take_off(key for key in self.held if key[0] == holder)

    @rule(node=nodes)
    def end(self, node: str) -> None:
        self.directory.end(node)
        self.ended |= self.take_off(key for key in self.held if key[0] == node)

    @rule(most=st.integers(0, 3))
    def drop(self, most: int) -> None:
        before = len(self.directory)
        self.directory.drop(most)
        assert before - len(self.directory) == min(most, len(self.ended))
        there = {(advert.holder, advert.name) for name in NAMES for advert in self.directory._contenders(name)}
        self.ended = {key: advert for key, advert in self.ended.items() if key in there}

    @rule(node=nodes)
    def renew(self, node: str) -> None:
        self.directory.renew(node, self.now)
        if node in self.heard_at:
            self.heard_at[node] = self.now

    @rule(seconds=st.sampled_from([0.5, 1.0, 4.0, 20.0]), holder=nodes)
    def time_passes(self, seconds: float, holder: str) -> None:
        self.now += seconds
        silence_s = self.now - self.heard_at.get(holder, self.now)
        gone = [key for key, held in self.held.items() if key[0] == holder and 0 < held.ttl_s <= silence_s]
        assert self.directory.expire(holder, self.now) == bool(gone)
        self.ended |= self.take_off(gone)

    @invariant()
    def the_highest_of_each_name_is_visible(self) -> None:
        best: dict[str, Advert] = {}
        for held in (*self.held.values(), *self.ended.values()):
            if held.name not in best or held.order > best[held.name].order:
                best[held.name] = held
        assert self.directory.all() == [best[name] for name in sorted(best)]
        assert all(self.directory.get(name) == best.get(name) for name in NAMES)
        assert len(self.directory) == len(self.held) + len(self.ended)
        assert self.directory.has_ended == bool(self.ended)

    @invariant()
    def the_events_replayed_are_what_is_visible(self) -> None:
        visible = {a.name: a for a in self.directory.all()}
        assert visible.keys() == self.replayed.keys()
        assert all(visible[name].says_the_same_as(seen) for name, seen in self.replayed.items())

    @invariant()
    def what_was_told_of_our_own_is_the_highest_of_our_programs(self) -> None:
        for name in NAMES:
            mine = [held for held in self.held.values() if held.node == US and held.name == name]
            assert self.own.get(name) == max(mine, key=lambda a: a.order, default=None)
            assert self.directory.own(name) == self.own.get(name)

    @invariant()
    def a_group_is_what_begins_with_its_name(self) -> None:
        for group in ("a", "a/b", "b", "ab", "é", "none"):
            wanted = [a for a in self.directory.all() if a.name.startswith(group + "/")]
            assert self.directory.group(group) == wanted

    @invariant()
    def lives_are_those_of_what_is_held(self) -> None:
        for holder in ("program1", "node-one"):
            found = [held.ttl_s for key, held in self.held.items() if key[0] == holder] or [config.TTL_S]
            assert self.directory.lives_of(holder) == (min(found), max(found))
            assert self.directory.count_held_by(holder) == sum(key[0] == holder for key in self.held)


TestDirectoryAndModel = DirectoryAndModel.TestCase
TestDirectoryAndModel.settings = settings(max_examples=60, stateful_step_count=40)


def test_within_the_end_of_a_lease_a_subscriber_sees_only_what_is_still_there() -> None:
    directory = Directory(US)
    count = 600
    for number in range(count):
        directory.put(advert(f"lamp/{number:04}"))
        directory.put(advert(f"room/{number:04}", "program2"))
    left: list[str] = []

    def look(event: Event) -> None:
        left.append(event.advert.name)
        assert event.advert.name not in [a.name for a in directory.group("lamp")]
        assert directory.count("lamp/") == count - len(left)
        if len(left) in (1, count):
            assert len(directory.all()) == 2 * count - len(left)
            assert len(directory.group("room")) == count

    directory.on_event.append(look)
    directory.remove_all("program1")
    assert left == [f"lamp/{number:04}" for number in range(count)]
    assert [a.name for a in directory.all()] == [f"room/{number:04}" for number in range(count)]


def test_what_a_subscriber_puts_back_within_the_end_of_a_lease_is_there_once_and_in_order() -> None:
    directory = Directory(US)
    for number in range(600):
        directory.put(advert(f"{number:04}"))

    def put_back(event: Event) -> None:
        if event.kind == "left":
            directory.put(advert(event.advert.name, "heir"))

    directory.on_event.append(put_back)
    directory.remove_all("program1")
    assert [a.name for a in directory.all()] == [f"{number:04}" for number in range(600)]
    directory.on_event.clear()
    directory.remove_all("heir")
    assert directory.all() == []


def test_what_ended_is_on_no_lease_any_more_and_is_listed_until_it_is_dropped() -> None:
    directory = Directory(US)
    for name in "abcd":
        directory.put(advert(name, "node-one", "node-one", ttl_s=1.0), 0.0)
    directory.end("node-one")
    assert directory.count_held_by("node-one") == 0
    assert directory.lives_of("node-one") == (config.TTL_S, config.TTL_S)
    assert len(directory.all()) == 4
    directory.drop(3)
    assert len(directory.all()) == 1
    directory.drop(3)
    assert directory.all() == []
    assert not directory.has_ended


def test_an_advert_that_is_back_before_it_was_dropped_stands_and_nobody_hears_that_it_had_left() -> None:
    directory = Directory(US)
    directory.put(advert("a", "node-one", "node-one", rank=7), 0.0)
    heard: list[Event] = []
    directory.on_event.append(heard.append)
    directory.end("node-one")
    directory.put(advert("a", "node-one", "node-one"), 1.0)
    directory.drop(10)
    assert heard == []
    assert [a.rank for a in directory.all()] == [0]
    assert directory.count_held_by("node-one") == 1


def test_a_full_directory_takes_back_what_was_not_dropped_yet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(config, "MAX_ADVERTS", 2)
    directory = Directory(US)
    directory.put(advert("a", "node-one", "node-one"), 0.0)
    directory.put(advert("b", "node-one", "node-one"), 0.0)
    directory.end("node-one")
    assert not directory.put(advert("c", "node-one", "node-one"), 1.0)
    assert directory.put(advert("a", "node-one", "node-one"), 1.0)
    directory.drop(10)
    assert [a.name for a in directory.all()] == ["a"]


def test_a_full_directory_takes_nothing_new_but_lets_what_it_holds_change(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(config, "MAX_ADVERTS", 3)
    directory = Directory(US)
    assert all(directory.put(advert(name)) for name in ("a", "b", "c"))
    assert not directory.put(advert("d"))
    assert not directory.put(advert("a", "other"))
    assert directory.count_held_by("other") == 0
    assert directory.put(advert("a", port=":2"))
    assert directory.remove("program1", "b")
    assert directory.put(advert("d"))
    assert [a.name for a in directory.all()] == ["a", "c", "d"]


def test_our_advert_made_clearly_later_is_raised_over_one_from_elsewhere() -> None:
    directory = Directory(US)
    directory.put(advert("a", born=100.0))
    directory.put(advert("a", "node-one", "node-one", ":2", born=90.0, rank=7), 100.0)
    seen = directory.get("a")
    assert seen is not None
    assert (seen.node, seen.rank) == (US, 8)


def test_of_adverts_made_at_the_same_moment_ours_is_not_raised() -> None:
    directory = Directory(US)
    directory.put(advert("a", born=100.0))
    directory.put(advert("a", "node-one", "node-one", ":2", born=100.0 - config.SAME_MOMENT_S / 2, rank=7), 100.0)
    seen = directory.get("a")
    assert seen is not None
    assert seen.node == "node-one"
