"""What takes long is done in turns: no datagram and no wake-up makes programs wait for thousands of adverts."""

from __future__ import annotations

import pytest

from nwdisco import config
from nwdisco.core import peers
from nwdisco.core.datagrams import Beat, Bye, Change, Entry, Key, Message, Who
from tests.patient import A_TURN, BIG, ENOUGH_S, PART, Patient, big, hear_all, journal, named
from tests.simulator import World
from tests.test_lan import COOKIE, PEER, Address, Node, tell

# --- what came early ---


def test_the_change_that_was_missing_takes_in_what_waited_for_it_in_turns() -> None:
    node = Patient()
    first, *others = journal("node-two", PART * 200)
    hear_all(node, others)
    assert node.directory.changes == 0
    node.hear(first)
    node.wait(ENOUGH_S)
    assert node.names() == [named(number) for number in range(PART * 200)]
    assert node.most <= A_TURN
    assert node.lan.peers._early == 0
    assert not node.lan.peers.any_behind()


def test_a_few_that_came_early_are_taken_in_with_the_one_before_them() -> None:
    node = Node()
    for change in reversed(journal("node-two", 200)):
        node.hear(change)
    assert len(node.directory) == 200


def test_many_nodes_whose_gaps_are_filled_together_are_taken_in_in_turns() -> None:
    node = Patient()
    firsts = []
    for number in range(40):
        source = (f"10.1.0.{number}", 40_000)
        first, *others = journal(f"node{number:04}", 500, 1000 * number)
        hear_all(node, others, source)
        firsts.append((first, source))
    for first, source in firsts:
        node.hear(first, source)
    node.wait(1)
    assert len(node.directory) == 40 * 500
    assert node.most <= A_TURN


def test_one_machine_has_no_more_changes_kept_than_are_left_for_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(config, "MAX_PENDING_CHANGES", 50)
    node = Node()
    for number in range(4):
        hear_all(node, journal(f"liar{number:04}", PART * 11)[1:], ("10.0.0.66", 1000 + number))
    kept = {peer.node: len(peer.early) for peer in node.lan.peers}
    assert kept == {"liar0000": 10, "liar0001": 10, "liar0002": 5, "liar0003": 0}
    hear_all(node, reversed(journal("node-two", PART * 8)))
    assert len(node.names_of("node-two")) == 200, "others are not shut out"


def test_what_comes_next_is_kept_rather_than_what_comes_later(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(config, "MAX_PENDING_CHANGES", 8)
    node = Node()
    first, *others = journal("node-two", 500)
    hear_all(node, reversed(others))
    node.hear(first)
    assert len(node.directory) == 5 * PART
    assert node.lan.peers._early == 0


def test_a_node_that_leaves_while_its_changes_are_taken_in_leaves_nothing_behind() -> None:
    node = Patient()
    first, *others = journal("node-two", PART * 200)
    hear_all(node, [*others, first])
    assert 0 < len(node.directory) < PART * 200
    node.hear(Bye("node-two", 90_000))
    node.wait(ENOUGH_S)
    assert node.names() == []
    assert node.lan.peers._early == 0
    node.wait(config.TTL_S)
    assert node.lan._timers._heap == []


def test_a_beat_without_adverts_ends_what_is_being_taken_in() -> None:
    node = Patient()
    first, *others = journal("node-two", PART * 200)
    hear_all(node, [*others, first])
    node.hear(Beat("node-two", 90_000, PART * 200 + 1, 0))
    node.wait(ENOUGH_S)
    assert node.names() == []
    assert node.lan.peers._early == 0
    assert not node.lan.peers.any_behind()


def test_a_change_that_comes_while_others_are_taken_in_is_taken_in_after_them() -> None:
    node = Patient()
    first, *others = journal("node-two", PART * 200)
    hear_all(node, [*others, first])
    node.hear(Change("node-two", 90_000, 0, 0, 5_000, 5_001, [Entry(named(4_999), 5_001)]))
    node.wait(ENOUGH_S)
    assert node.names() == [named(number) for number in range(4_999)]
    assert node.listed_is_what_watchers_heard()


# --- what ends ---


@pytest.mark.parametrize(
    "end", [Bye("node-two", 90_000), Beat("node-two", 90_000, BIG + 1, 0)], ids=["bye", "beat without adverts"]
)
def test_what_a_big_node_advertised_goes_in_turns_each_advert_once(end: Message) -> None:
    node = big()
    node.hear(end)
    node.wait(ENOUGH_S)
    assert node.names() == []
    assert sorted(node.events) == [("left", named(number)) for number in range(BIG)]
    assert node.most <= A_TURN
    assert len(node.directory) == 0


def test_a_node_of_some_adverts_is_gone_with_its_goodbye() -> None:
    node = big(200)
    node.hear(Bye("node-two", 90_000))
    assert node.names() == []


def test_a_big_node_that_falls_silent_is_gone_in_its_time_in_turns() -> None:
    node = big()
    node.wait(4.99)
    assert len(node.names()) == BIG
    node.wait(0.51)
    assert node.names() == []
    assert sorted(node.events) == [("left", named(number)) for number in range(BIG)]
    assert node.most <= A_TURN


def test_many_nodes_that_fall_silent_together_are_gone_in_turns() -> None:
    node = Patient()
    for number in range(100):
        hear_all(node, journal(f"node{number:04}", 100, 100 * number), (f"10.1.0.{number}", 40_000))
    node.wait(5.5)
    assert node.names() == []
    assert node.most <= A_TURN


def test_what_a_node_no_longer_has_when_its_journal_was_read_again_goes_in_turns() -> None:
    node = big()
    node.hear(Change("node-two", 90_000, 0, BIG + 5, 0, BIG + 10, [Entry(named(7), BIG + 9, ":80")]))
    node.hear(Change("node-two", 90_001, 0, BIG + 20, BIG + 15, BIG + 30, []))
    node.hear(Change("node-two", 90_002, 0, BIG + 20, 0, BIG + 30, [Entry(named(7), BIG + 9, ":80")]))
    node.wait(ENOUGH_S)
    assert node.names() == [named(7)]
    assert sorted(node.events) == [("left", named(number)) for number in range(BIG) if number != 7]
    assert node.most <= A_TURN


def test_what_is_mentioned_or_missed_while_stale_adverts_are_dropped_is_not_dropped() -> None:
    node = big()
    node.hear(Change("node-two", 90_000, 0, BIG + 5, BIG + 9, BIG + 10, []))
    node.hear(Change("node-two", 90_001, 0, BIG + 5, 0, BIG + 10, []))
    there = node.names()
    assert 0 < len(there) < BIG
    node.hear(Change("node-two", 90_002, 0, BIG + 5, BIG + 10, BIG + 11, [Entry(there[0], BIG + 11, ":81")]))
    there = node.names()
    node.hear(Beat("node-two", 90_003, BIG + 20, 5))
    node.wait(0.01)
    assert node.names() == there, "more is missing: it may mention them"
    node.hear(Change("node-two", 90_004, 0, BIG + 5, BIG + 11, BIG + 20, [Entry(there[1], BIG + 20, ":82")]))
    node.wait(ENOUGH_S)
    assert [(a.name, a.address) for a in node.directory.all()] == [
        (there[0], f"{PEER[0]}:81"),
        (there[1], f"{PEER[0]}:82"),
    ]
    assert node.listed_is_what_watchers_heard()
    assert node.most <= A_TURN


def test_a_node_that_is_back_while_its_stale_adverts_were_dropped_keeps_what_it_says() -> None:
    node = big()
    node.hear(Change("node-two", 90_000, 0, BIG + 5, BIG + 9, BIG + 10, []))
    node.hear(Change("node-two", 90_001, 0, BIG + 5, 0, BIG + 10, []))
    node.hear(Bye("node-two", 90_002))
    node.hear(Change("node-two", 90_003, 0, 0, 0, BIG + 30, [Entry(named(5), BIG + 30, ":81")]))
    node.wait(ENOUGH_S)
    assert [(a.name, a.address) for a in node.directory.all()] == [(named(5), f"{PEER[0]}:81")]
    assert len(node.directory) == 1
    assert node.listed_is_what_watchers_heard()


def test_a_node_that_is_back_before_all_of_it_is_gone_has_what_it_says_now_and_no_more() -> None:
    node = big()
    node.hear(Bye("node-two", 30_100))
    gone = {name for kind, name in node.events if kind == "left"}
    assert 0 < len(gone) < BIG
    for number in (0, 1, BIG - 2, BIG - 1):
        version = BIG + number + 1
        node.hear(Change("node-two", 40_000 + number, 0, 0, 0, version, [Entry(named(number), version, ":81")]))
    node.wait(ENOUGH_S)
    back = [named(number) for number in (0, 1, BIG - 2, BIG - 1)]
    assert [(a.name, a.address) for a in node.directory.all()] == [(name, "10.0.0.2:81") for name in back]
    assert node.listed_is_what_watchers_heard()
    for name in back:
        kinds = [kind for kind, whose in node.events if whose == name]
        assert kinds == (["left", "joined"] if name in gone else ["changed"])
    assert len(node.directory) == 4
    assert node.most <= A_TURN


def test_a_node_that_is_back_and_leaves_again_meanwhile_is_gone() -> None:
    node = big()
    node.hear(Bye("node-two", 30_100))
    hear_all(node, [Beat("node-two", 30_101, 60_000, 300), *journal("node-two", 300, 9_900, since=40_000)])
    node.hear(Change("node-two", 80_000, 0, 0, 0, 50_000, [Entry("more", 50_000, ":1")]))
    node.hear(Bye("node-two", 90_001))
    node.wait(ENOUGH_S)
    assert node.names() == []
    assert node.listed_is_what_watchers_heard()
    assert len(node.directory) == 0
    node.wait(config.TTL_S)
    assert node.lan._timers._heap == []


def test_adverts_that_ended_for_silence_are_not_what_the_node_has_when_it_is_back() -> None:
    """Half of them live for longer: they stand, and what ended is fetched again."""
    node = Patient()
    hear_all(node, journal("node-two", 5_000))
    hear_all(node, journal("node-two", 5_000, 5_000, since=5_000, ttl_s=60.0))
    node.events.clear()
    node.wait(5.0)
    ended = {name for _, name in node.events}
    assert 0 < len(ended) < 5_000, "the rest of them has ended too, and waits for its turn"
    node.hear(Beat("node-two", 95_000, 10_000, 10_000))
    assert len(node.names_of("node-two")) == 5_000
    hear_all(node, journal("node-two", 100))
    node.wait(ENOUGH_S)
    assert node.names() == [named(number) for number in (*range(100), *range(5_000, 10_000))]
    assert node.listed_is_what_watchers_heard()
    assert node.most <= A_TURN


def test_another_nodes_advert_of_the_same_name_is_seen_once_the_big_node_is_gone() -> None:
    node = big()
    node.hear(tell("node-abc", 10_000, 0, named(3), named(9_000)), ("10.0.0.3", 1))
    node.hear(Bye("node-two", 90_000))
    node.wait(ENOUGH_S)
    assert [(a.name, a.node) for a in node.directory.all()] == [(named(3), "node-abc"), (named(9_000), "node-abc")]
    assert [event for event in node.events if event[1] == named(3)] == [("changed", named(3))]


# --- what moves ---


def moved(node: Node, source: Address) -> None:
    """It is heard there alone for so long that it has moved."""
    for beat in range(6):
        node.hear(Beat("node-two", 95_000 + int(node.now * 100) + beat, BIG, BIG), source)
        for message in node.wait(0.7, source):
            if isinstance(message, Who):
                node.hear(Key(message.nonce, COOKIE), source, direct=True)


def test_what_a_big_node_advertises_moves_along_in_turns() -> None:
    node = big(ttl_s=60.0)
    moved(node, ("10.0.0.9", 4000))
    node.wait(ENOUGH_S)
    assert {advert.address for advert in node.directory.all()} == {"10.0.0.9:80"}
    assert sorted(node.events) == [("changed", named(number)) for number in range(BIG)]
    assert node.most <= A_TURN


def test_what_a_node_says_and_ends_while_its_adverts_move_stands() -> None:
    node = big(ttl_s=60.0)
    node.now += config.MOVE_AFTER_S + 0.1
    there = ("10.0.0.9", 4000)
    change = Change("node-two", 95_000, 0, 0, BIG, BIG + 2, [Entry(named(1), BIG + 1), Entry(named(2), BIG + 2, ":81")])
    node.hear(change, there)
    assert len({advert.address for advert in node.directory.all()}) > 1, "it was all done at once"
    node.wait(ENOUGH_S)
    assert named(1) not in node.names()
    seen = node.directory.get(named(2))
    assert seen is not None
    assert seen.address == "10.0.0.9:81"
    assert {advert.address for advert in node.directory.all()} == {"10.0.0.9:80", "10.0.0.9:81"}
    assert node.listed_is_what_watchers_heard()


def test_a_node_that_moves_on_while_its_adverts_move_ends_up_where_it_is() -> None:
    node = big(ttl_s=60.0)
    for place, source in enumerate([("10.0.0.9", 4000), ("10.0.0.10", 4000), PEER]):
        peer = node.lan.peers.get("node-two")
        assert peer is not None
        node.lan.peers.move(peer, source, node.now)
        node.hear(Beat("node-two", 95_000 + place, BIG, BIG), source)
    node.wait(ENOUGH_S)
    assert {advert.address for advert in node.directory.all()} == {f"{PEER[0]}:80"}
    assert node.listed_is_what_watchers_heard()


def test_a_node_that_leaves_while_its_adverts_move_is_gone() -> None:
    node = big(ttl_s=60.0)
    node.now += config.MOVE_AFTER_S + 0.1
    node.hear(Beat("node-two", 95_000, BIG, BIG), ("10.0.0.9", 4000))
    node.hear(Bye("node-two", 95_001), ("10.0.0.9", 4000))
    node.wait(ENOUGH_S)
    assert node.names() == []
    assert len(node.directory) == 0


# --- everything in the smallest turns ---


@pytest.mark.parametrize("seed", range(5))
def test_in_the_smallest_turns_loss_delay_and_goodbyes_change_nothing_in_the_end(
    seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(peers, "ENTRIES_AT_ONCE", 1)
    world = World(seed, loss=0.2, doubled=0.5, delay_s=(0.0, 0.3))
    hosts = world.add_hosts(6)
    for host in hosts:
        for number in range(40):
            host.advertise(f"{host.number}/{number}")
    wanted = {f"{host.number}/{number}" for host in hosts for number in range(40)}
    for _ in range(150):
        host = world.random.choice(hosts[1:])
        name = f"{host.number}/{world.random.randrange(50)}"
        if name in wanted and world.random.random() < 0.5:
            host.unadvertise(name)
            wanted.discard(name)
        else:
            host.advertise(name, f":{world.random.randrange(1, 9999)}")
            wanted.add(name)
        if world.random.random() < 0.05:
            world.move(host, f"10.{host.number}.{world.random.randrange(200)}.7")
        if world.random.random() < 0.05:  # somebody says goodbye for it
            forged = b'nw1["bye","%s",%d]' % (host.lan.node.encode(), host.lan._teller._seq + 1)
            world.inject(forged, host.address, hosts[0])
        world.run(world.random.choice((0.0, 0.05, 0.3)))
    world.leave(hosts[-1])
    world.run(12)
    wanted = {name for name in wanted if not name.startswith("6/")}
    owner = {host.lan.node: host for host in hosts}
    for host in hosts[:-1]:
        assert set(host.names()) == wanted
        others = [advert for advert in host.directory.all() if advert.node != host.lan.node]
        for advert in others:
            own = owner[advert.node].directory.get(advert.name)
            assert own is not None
            assert advert.address == owner[advert.node].address[0] + own.address_on_the_wire
