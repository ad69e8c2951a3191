"""What NetworkZero is told of the directory, and when, without a network."""

from __future__ import annotations

import json
from itertools import pairwise
from math import inf

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nwdisco import config
from nwdisco.core import networkzero as nz
from nwdisco.core.advert import Advert
from nwdisco.core.networkzero import encode
from nwdisco.core.networkzero_exports import HEAP_SLACK
from tests.networkzero_desk import EVERY_S, IP, OTHER_IP, SILENT_S, TTL_S, Desk, run_together


@pytest.fixture
def desk() -> Desk:
    return Desk()


def test_an_own_advert_is_told_at_once_and_every_two_seconds(desk: Desk) -> None:
    desk.put("x", "a:1")
    assert desk.run() == [(1000.0, "x", "a:1", 20)]
    told = desk.run(20)
    assert 9 <= len(told) <= 11
    assert {row[1:] for row in told} == {("x", "a:1", 20)}


def test_a_change_is_told_at_once_and_one_that_networkzero_cannot_see_is_not(desk: Desk) -> None:
    desk.put("x", "a:1")
    desk.run(0.5)
    desk.put("x", "b:2")
    assert [row[2] for row in desk.run(0.5)] == ["b:2"]
    advert = desk.directory.get("x")
    assert advert is not None
    desk.directory.put(Advert("x", "b:2", {"floor": "2"}, 5.0, advert.node, advert.holder, desk.now, advert.rank + 1))
    assert desk.run(0.5) == []


def test_what_has_gone_is_withdrawn_at_once_three_times_and_told_no_more(desk: Desk) -> None:
    desk.put("x", "a:1")
    desk.run(5)
    at = desk.now
    desk.remove("x")
    told = desk.run(30)
    assert [round(row[0] - at, 3) for row in told] == [0.0, 0.2, 1.2]
    assert {row[1:] for row in told} == {("x", "a:1", 0)}
    assert len(desk.exports) == 0
    assert desk.exports.due is None


def test_one_that_is_back_is_not_withdrawn_any_more(desk: Desk) -> None:
    desk.put("x", "a:1")
    desk.run(1)
    desk.remove("x")
    desk.run()
    desk.put("x", "b:2")
    told = desk.run(10)
    assert {row[2:] for row in told} == {("b:2", 20)}


def test_one_that_nobody_was_told_of_is_not_withdrawn(desk: Desk) -> None:
    desk.put("x", "a:1")
    desk.remove("x")
    assert desk.run(5) == []


def test_a_name_that_networkzero_has_taken_over_is_left_to_it(desk: Desk) -> None:
    desk.put("x", "a:1")
    desk.run(1)
    desk.say("x", "b:2")
    assert desk.run(10) == []
    assert len(desk.exports) == 0


def test_where_the_ip_was_picked_each_network_is_told_its_own(desk: Desk) -> None:
    desk.exports.ips = (IP, OTHER_IP)
    desk.put("picked", f"{IP}:80", picked=True)
    desk.put("given", "192.168.1.1:80")
    desk.put("theirs", "10.0.0.5:80", node="node-two", picked=True)
    told = {row[1:3] for row in desk.run(1)}
    assert told == {
        ("picked", f"{IP}:80"),
        ("picked", f"{OTHER_IP}:80"),
        ("given", "192.168.1.1:80"),
        ("theirs", "10.0.0.5:80"),
    }


def test_another_node_s_advert_is_told_a_moment_later_unless_somebody_else_tells_it(desk: Desk) -> None:
    desk.put("x", "a:1", node="node-two")
    (told, *_) = desk.run(1)
    assert 0 <= told[0] - 1000 <= config.NETWORKZERO_LATER_S
    desk.put("y", "a:1", node="node-two")
    desk.hear(encode("y", "a:1", 20))
    desk.hear(encode("z", "a:1", 20))
    desk.put("z", "a:1", node="node-two")
    assert {row[1] for row in desk.run(SILENT_S - 1)} == {"x"}
    assert {row[1] for row in desk.run(EVERY_S + 3)} == {"x", "y", "z"}, "that one has fallen silent"


def test_an_own_advert_is_told_whatever_others_tell(desk: Desk) -> None:
    desk.put("x", "a:1")
    for _ in range(20):
        desk.hear(encode("x", "a:1", 20))
        assert desk.run(EVERY_S * 1.1)


def test_of_several_nodes_one_tells_a_third_s_advert_and_when_it_falls_silent_another_does() -> None:
    desks = [Desk(f"node-{number}", seed=number) for number in range(5)]
    for desk in desks:
        desk.put("x", "a:1", node="elsewhere")
    run_together(desks, 60)
    telling = [desk for desk in desks if any(row[0] > 1010 for row in desk.told)]
    assert len(telling) == 1
    assert sum(len(desk.told) for desk in desks) < 1.2 * 60 / EVERY_S + len(desks)
    rest = [desk for desk in desks if desk is not telling[0]]
    silent_from = desks[0].now
    run_together(rest, 60)
    first = min(row[0] for desk in rest for row in desk.told if row[0] > silent_from)
    assert first - silent_from < TTL_S - EVERY_S, "before NetworkZero would drop it"
    assert len([desk for desk in rest if any(row[0] > silent_from + 20 for row in desk.told)]) == 1


def test_what_somebody_else_told_is_withdrawn_when_it_goes_unless_that_one_does_so(desk: Desk) -> None:
    """A machine that loses power tells nobody; the others notice, and NetworkZero need not wait for its time to live."""
    for name in ("silent", "withdrawn"):
        desk.put(name, "a:1", node="node-two")
        desk.hear(encode(name, "a:1", 20))
    assert desk.run(SILENT_S - 1) == []
    for name in ("silent", "withdrawn"):
        desk.remove(name, node="node-two")
    desk.hear(encode("withdrawn", "b:2", 0))
    desk.hear(encode("withdrawn", "a:1", 0))
    at = desk.now
    told = desk.run(30)
    assert {row[1:] for row in told} == {("silent", "a:1", 0)}
    assert told[0][0] - at <= config.NETWORKZERO_LATER_S


def test_what_fits_no_datagram_is_left_out_until_it_does(desk: Desk) -> None:
    name = "x" * (256 - len('["","a:1",20]\n'))
    desk.put(name, "a:1")
    assert desk.run(1)
    desk.put(name + "x", "a:1")
    assert name + "x" not in {row[1] for row in desk.run(10)}
    assert desk.counters["left_out"] == 1
    desk.put(name + "x", "a:", picked=False)
    assert name + "x" in {row[1] for row in desk.run(10)}


@given(st.text(min_size=1, max_size=80), st.text(min_size=1, max_size=80), st.floats(1, 1e6))
def test_no_datagram_is_ever_longer_than_networkzero_reads(name: str, address: str, life_s: float) -> None:
    """It stops for good at one that it cannot decode."""
    desk = Desk()
    desk.lives[name] = life_s
    try:
        nz.encode(name, address, 20)
    except UnicodeEncodeError:
        return
    desk.put(name, address)
    desk.exports.wake(desk.now)
    for data, _ in desk.exports.outbox:
        assert len(data) <= 256
        assert json.loads(data)[:2] == [name, address]


def test_with_very_many_the_rounds_and_the_told_lives_get_longer_and_the_budget_holds(desk: Desk) -> None:
    for number in range(1600):
        desk.put(f"n{number}", "a:1")
    told = desk.run(100)
    assert len(told) <= 101 * config.NETWORKZERO_PER_S
    by_name: dict[str, list[tuple[float, float]]] = {}
    for at, name, _, ttl_s in told:
        assert ttl_s is not None
        by_name.setdefault(name, []).append((at, ttl_s))
    assert len(by_name) == 1600
    for times in by_name.values():
        for (at, ttl_s), (then, _) in pairwise(times):
            assert then - at < ttl_s / 4
    assert told[-1][3] == 200


def test_a_withdrawal_goes_before_a_long_queue_and_what_is_new_does_not_overrun_those_who_hear_it(desk: Desk) -> None:
    for number in range(1000):
        desk.put(f"n{number:04}", "a:1")
    told = desk.run(1)
    assert config.NETWORKZERO_PER_S <= len(told) <= 2 * config.NETWORKZERO_PER_S
    name = told[0][1]
    desk.remove(name)
    at = desk.now
    withdrawn = [row[0] for row in desk.run(1) if row[1:] == (name, "a:1", 0)]
    assert withdrawn[0] - at < 0.1


def test_an_advert_that_changes_for_ever_takes_no_memory(desk: Desk) -> None:
    for number in range(5000):
        desk.put("x", f"a:{number}")
    assert len(desk.exports._dates) <= 2 + HEAP_SLACK


def test_while_paused_nothing_is_told_and_afterwards_what_has_happened_is(desk: Desk) -> None:
    for name in ("stays", "goes"):
        desk.put(name, "a:1")
    desk.run(1)
    desk.exports.paused = True
    desk.remove("goes")
    desk.put("comes", "a:1")
    assert desk.exports.due is None
    assert desk.run(10) == []
    desk.exports.paused = False
    assert {row[1:] for row in desk.run(0.1)} == {("stays", "a:1", 20), ("goes", "a:1", 0), ("comes", "a:1", 20)}


def test_the_last_words_withdraw_what_stood_on_this_node(desk: Desk) -> None:
    desk.put("own", "a:1")
    desk.put("other", "b:2", node="node-two")
    desk.run(1)
    desk.exports.stop()
    assert [json.loads(data) for data, _ in desk.exports.outbox] == [["own", "a:1", 0]]


def test_the_lives_of_networkzero_s_own_programs_are_told_as_given(desk: Desk) -> None:
    desk.lives = {"short": 4.0, "endless": inf, "none": 0.0}
    for name in desk.lives:
        desk.put(name, "a:1")
    assert {row[1]: row[3] for row in desk.run()} == {"short": 4, "endless": None, "none": 1}


steps = st.lists(
    st.tuples(
        st.sampled_from(["put", "put other", "remove", "remove other", "say", "hear", "wait"]),
        st.sampled_from(["a", "b"]),
        st.sampled_from(["h:1", "h:2"]),
    ),
    max_size=40,
)


@given(steps)
def test_whatever_happens_networkzero_ends_up_with_what_is_there(steps: list[tuple[str, str, str]]) -> None:
    """A listener that does as NetworkZero does: the last datagram of a name counts, for its time to live."""
    desk = Desk()
    for what, name, address in steps:
        if what == "put":
            desk.put(name, address)
        elif what == "put other":
            desk.put(name, address, node="node-two")
        elif what == "remove":
            desk.remove(name)
        elif what == "remove other":
            desk.remove(name, node="node-two")
        elif what == "say":
            desk.say(name, address, 4)
        elif what == "hear":
            desk.hear(encode(name, address, 20))
        desk.run(0.3)
    desk.run(40)
    known: dict[str, tuple[str, float]] = {}
    for at, name, address, ttl_s in desk.told:
        assert ttl_s is not None
        known[name] = (address, at + ttl_s)
    there = {name: address for name, (address, until) in known.items() if until > desk.now}
    assert there == {advert.name: advert.address for advert in desk.directory.all()}
    assert len(desk.exports) == len(there)
