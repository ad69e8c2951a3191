"""The promises of the LAN protocol, on a simulated network with a fake clock. A seed replays a failure exactly."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest

from nwdisco import config
from nwdisco.core import datagrams
from nwdisco.core.datagrams import Beat, Bye, Change, decode, encode
from tests.simulator import World, all_see, decode_once

ETHERNET_IP_UDP = 14 + 20 + 8


@pytest.fixture(autouse=True)
def _what_many_receive_is_decoded_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datagrams, "decode", decode_once)


@pytest.fixture
def _no_search_for_garbage() -> Iterator[None]:
    """Millions of objects that live to the end of the test: looking through them takes a third of its time."""
    gc.disable()
    yield
    gc.enable()
    gc.collect()


def small_world(seed: int, number: int = 10, **network: float) -> World:
    world = World(seed, **network)
    world.add_hosts(number)
    world.run(2)
    return world


@pytest.mark.parametrize("seed", range(5))
def test_without_loss_a_change_is_everywhere_after_one_datagram(seed: int) -> None:
    world = small_world(seed, delay_s=(0.001, 0.001))
    first, *others = world.hosts
    first.advertise("printer/a")
    world.run(0.001)
    assert all_see(others, {"printer/a"})
    first.unadvertise("printer/a")
    world.run(0.001)
    assert all_see(others, set())


@pytest.mark.usefixtures("_no_search_for_garbage")
def test_a_thousand_nodes_without_loss_have_a_change_after_one_datagram_and_drop_a_silent_node() -> None:
    world = World(7, delay_s=(0.001, 0.001))
    hosts = world.add_hosts(1000, over_s=0.5)
    world.run(config.SETTLE_S)
    hosts[0].advertise("printer/a")
    world.run(0.001)
    assert all_see(hosts, {"printer/a"})
    world.kill(hosts[0])
    world.run(5.5)
    assert all_see(hosts[1:], set())
    assert {len(host.lan.peers) for host in hosts[1:]} == {998}


@pytest.mark.parametrize("part", range(4))
def test_with_30_percent_loss_a_change_is_everywhere_after_3_s_in_999_of_1000_times(part: int) -> None:
    late = 0
    changes = 500
    world = World(part, loss=0.3)
    hosts = world.add_hosts(30)
    world.run(5)
    for number in range(changes):
        host = world.random.choice(hosts)
        host.advertise("it", f":{number + 1}")
        wanted = host.directory.get("it")
        assert wanted is not None
        world.run(3)
        late += any((got := other.directory.get("it")) is None or got.address != wanted.address for other in hosts)
    assert late <= changes // 1000 + 1, f"{late} of {changes} changes were not everywhere after 3 s"


def test_30_nodes_with_30_percent_loss_drop_no_live_node_in_an_hour() -> None:
    world = World(1, loss=0.3)
    hosts = world.add_hosts(30)
    names = set()
    for host in hosts:
        host.advertise(f"pi/{host.number}")
        names.add(f"pi/{host.number}")
    world.run(5)
    assert all_see(hosts, names)
    left: list[tuple[float, str]] = []
    for host in hosts:
        host.directory.on_event.append(
            lambda event: left.append((world.now, event.advert.name)) if event.kind == "left" else None
        )
    world.run(3600)
    assert left == []


@pytest.mark.parametrize("loss", [0.0, 0.3])
@pytest.mark.parametrize("seed", range(5))
def test_a_node_that_falls_silent_is_gone_after_5_s_and_at_most_5_5(seed: int, loss: float) -> None:
    world = small_world(seed, loss=loss)
    dead, *others = world.hosts
    dead.advertise("printer/a")
    world.run(3)
    last_heard = {host.number: host.lan.peers.get(dead.lan.node).heard_at for host in others}  # type: ignore[union-attr]
    world.kill(dead)
    killed_at = world.now
    for host in others:
        host.directory.on_event.append(
            lambda event, h=host: gone.__setitem__(h.number, world.now)  # type: ignore[misc]
        )
    gone: dict[int, float] = {}
    world.run(5.5)
    assert set(gone) == {host.number for host in others}
    assert all(at <= killed_at + 5.5 for at in gone.values())
    assert all(at >= last_heard[number] + 5 - 1e-6 for number, at in gone.items()), "dropped before its time"


@pytest.mark.parametrize("seed", range(10))
def test_halves_of_a_split_network_agree_within_1_5_s_after_they_are_joined(seed: int) -> None:
    world = World(seed)
    hosts = world.add_hosts(30)
    world.run(2)
    world.split = lambda a, b: (a.number % 2) != (b.number % 2)
    for host in hosts:
        host.advertise(f"pi/{host.number}")
        world.run(1 if host is hosts[-1] else 0.02)
        host.advertise("teacher")
    world.run(7)
    assert len(hosts[0].names()) == 16
    world.split = None
    names = {f"pi/{host.number}" for host in hosts} | {"teacher"}
    took_s = world.run_until(
        lambda: all_see(hosts, names) and len({tuple(host.view()) for host in hosts}) == 1, 5, every_s=0.002
    )
    assert took_s <= 1.5
    teacher = hosts[0].directory.get("teacher")
    assert teacher is not None
    assert teacher.node == hosts[-1].lan.node, "not the advert that was made last"


@pytest.mark.parametrize("seed", range(20))
def test_of_two_adverts_of_a_name_every_machine_sees_the_same_and_the_last(seed: int) -> None:
    world = small_world(seed, loss=0.2)
    one, other, *_ = world.hosts
    world.split = lambda a, b: (a is one) != (b is one)
    one.advertise("same", "192.168.1.1:1")
    world.run(world.random.choice((0.0, 0.001, 0.2, 1.0, 2.0)))
    other.advertise("same", "192.168.1.2:2")
    world.split = None
    world.run(5)
    assert len({tuple(host.view()) for host in world.hosts}) == 1
    seen = one.directory.get("same")
    mine, later = one.directory.own("same"), other.directory.own("same")
    assert seen is not None
    assert mine is not None
    assert later is not None
    if later.born - mine.born > config.SAME_MOMENT_S + 0.1:
        assert seen.node == other.lan.node


def test_when_the_later_advert_goes_the_earlier_is_seen_again() -> None:
    world = small_world(1)
    one, other, third, *_ = world.hosts
    one.advertise("same", ":1")
    world.run(1)
    other.advertise("same", ":2")
    world.run(1)
    assert third.view() == [("same", f"{other.address[0]}:2", other.lan.node)]
    other.unadvertise("same")
    world.run(1)
    assert third.view() == [("same", f"{one.address[0]}:1", one.lan.node)]


def test_a_latecomer_has_everything_when_it_is_settled() -> None:
    for loss, tries in ((0.0, 5), (0.1, 5)):
        for seed in range(tries):
            world = World(seed, loss=loss)
            hosts = world.add_hosts(10)
            for host in hosts:
                for number in range(30):
                    host.advertise(f"pi/{host.number}/{number}")
            world.run(5)
            late = world.host()
            world.run_until(lambda: late.lan.settled(world.now), 2)  # noqa: B023
            assert len(late.names()) == 300, f"loss {loss}, seed {seed}, after {world.now} s"


def test_fifty_that_start_at_once_all_see_all_when_settled() -> None:
    world = World(3)
    hosts = [world.host() for _ in range(50)]
    for host in hosts:
        host.advertise(f"pi/{host.number}")
    world.run(config.SETTLE_S + 0.01)
    assert all_see(hosts, {f"pi/{host.number}" for host in hosts})


@pytest.mark.parametrize("loss", [0.0, 0.3])
def test_ten_thousand_adverts_of_one_node_reach_a_latecomer(loss: float) -> None:
    world = World(5, loss=loss)
    big = world.host()
    for number in range(10_000):
        big.advertise(f"lamp/{number}")
    world.run(3)
    late = world.host()
    took_s = world.run_until(lambda: len(late.directory) == 10_000, 30, every_s=0.002)
    assert took_s < (1.5 if loss == 0 else 10)


@pytest.mark.parametrize("multicast", [True, False])
def test_it_is_enough_that_multicast_or_broadcast_works(multicast: bool) -> None:
    world = World(2)
    world.multicast, world.broadcast = multicast, not multicast
    hosts = world.add_hosts(10)
    for host in hosts:
        host.advertise(f"pi/{host.number}")
    world.run(2)
    names = {f"pi/{host.number}" for host in hosts}
    assert all_see(hosts, names)
    left: list[str] = []
    for host in hosts:
        host.directory.on_event.append(lambda event: left.append(event.kind))
    world.run(120)
    assert left == []
    world.kill(hosts[0])
    world.run(5.5)
    assert all_see(hosts[1:], names - {"pi/1"})


def test_a_bye_is_heeded_at_once_and_what_comes_late_brings_nothing_back() -> None:
    world = small_world(1)
    one, *others = world.hosts
    sent: list[bytes] = []
    receive = others[0].lan.receive
    others[0].lan.receive = lambda data, source, now, direct=False: (  # type: ignore[method-assign]
        sent.append(data),
        receive(data, source, now, direct),
    )[1]
    one.advertise("printer/a")
    world.run(2)
    world.leave(one)
    world.run(0.01)
    assert all_see(others, set())
    assert any(isinstance(decode(data), Bye) for data in sent)
    for data in sent:
        world.inject(data, one.address, others[1])
    world.run(0.01)
    assert all_see(others, set())


def test_a_beat_is_small_and_as_small_with_ten_thousand_adverts() -> None:
    world = World(1)
    host = world.host()
    for number in range(10_000):
        host.advertise(f"lamp/{number}")
    world.run(3)
    host.lan.outbox.clear()
    beat = encode(Beat(host.lan.node, 3600 * 24 * 365, 10_000_000, 10_000))
    assert len(beat) + ETHERNET_IP_UDP <= 100
    before = host.sent_bytes
    world.run(100)
    assert (host.sent_bytes - before) / 100 <= 80, "bytes a second of a quiet node"


def test_a_new_address_of_a_node_is_everywhere_within_half_a_second() -> None:
    world = small_world(4)
    one, *others = world.hosts
    one.advertise("picked", ":80")
    one.advertise("given", "192.168.7.7:80")
    world.run(2)
    world.move(one, "10.9.9.9")
    world.run(0.5)
    for host in others:
        assert [(a.name, a.address) for a in host.directory.all()] == [
            ("given", "192.168.7.7:80"),
            ("picked", "10.9.9.9:80"),
        ]


@pytest.mark.parametrize("ttl_s", [1.0, 2.0, 20.0])
@pytest.mark.parametrize("loss", [0.0, 0.2])
def test_an_advert_outlives_its_silent_node_by_its_own_time_to_live(ttl_s: float, loss: float) -> None:
    world = small_world(6, loss=loss)
    one, *others = world.hosts
    one.advertise("usual")
    one.advertise("special", ttl_s=ttl_s)
    world.run(3)
    left: list[str] = []
    others[0].directory.on_event.append(lambda event: left.append(event.advert.name))
    world.run(60)
    assert left == []
    world.split = lambda a, b: one in (a, b)
    world.run(ttl_s + 0.5)
    assert all("special" not in host.names() for host in others)
    world.run(6)
    assert all_see(others, set())
    world.split = None
    world.run(4)
    assert all_see(others, {"usual", "special"}), "not fetched again when the node was back"


def test_a_node_that_missed_more_removals_than_are_told_of_catches_up_without_flicker() -> None:
    world = World(8)
    one, other = world.add_hosts(2)
    for number in range(3000):
        one.advertise(f"old/{number}", ttl_s=600)
    one.advertise("kept", ttl_s=600)
    world.run(3)
    assert len(other.names()) == 3001
    world.split = lambda a, b: True
    for number in range(3000):
        one.unadvertise(f"old/{number}")
    one.advertise("new", ttl_s=600)
    world.run(3)
    events: list[tuple[str, str]] = []
    other.directory.on_event.append(lambda event: events.append((event.kind, event.advert.name)))
    world.split = None
    world.run(3)
    assert set(other.names()) == {"kept", "new"}
    assert ("left", "kept") not in events


def test_the_same_seed_gives_the_same_run() -> None:
    def run(seed: int) -> tuple[int, list[list[tuple[str, str, str]]]]:
        world = World(seed, loss=0.3, doubled=0.2, delay_s=(0.001, 0.2))
        for host in world.add_hosts(8):
            host.advertise(f"pi/{host.number}")
        world.run(20)
        return world.delivered, [host.view() for host in world.hosts]

    assert run(11) == run(11)
    assert run(11) != run(12)


@pytest.mark.parametrize("seed", range(5))
def test_doubled_delayed_and_reordered_datagrams_change_nothing_in_the_end(seed: int) -> None:
    world = World(seed, loss=0.1, doubled=0.5, delay_s=(0.0, 0.5))
    hosts = world.add_hosts(8)
    wanted: set[str] = set()
    for _ in range(200):
        host = world.random.choice(hosts)
        name = f"{host.number}/{world.random.randrange(5)}"
        if name in wanted and world.random.random() < 0.5:
            host.unadvertise(name)
            wanted.discard(name)
        else:
            host.advertise(name, f":{world.random.randrange(1, 9999)}")
            wanted.add(name)
        world.run(world.random.choice((0.0, 0.05, 0.5)))
    world.run(5)
    assert all_see(hosts, wanted)
    assert len({tuple(host.view()) for host in hosts}) == 1


def test_nothing_a_stranger_sends_brings_it_more_bytes_than_it_sent() -> None:
    world = small_world(9)
    host = world.hosts[0]
    host.advertise("printer/a", properties={"text": "x" * 500})
    world.run(3)
    victim = ("10.66.66.66", 5555)
    forged = 0
    sent = 0
    carry = world.after

    def count(of: object) -> None:
        nonlocal sent
        if of is host:
            sent += sum(len(send.data) for send in host.lan.outbox if send.to == victim)
        carry(of)  # type: ignore[arg-type]

    world.after = count  # type: ignore[method-assign]
    for seq in range(300):
        node = f"Forged{seq % 50:02d}"
        for data in (
            encode(Beat(node, 10_000 + seq, seq + 1, 3)),
            encode(Change(node, 10_000 + seq, 0, 0, 5, 6, [])),
            b'nw1["who","abcdef",""]',
            b'nw1["key","abcdef","abcdef"]',
            b'nw1["ask","abcdef",0,0]',
        ):
            forged += len(data)
            world.inject(data, victim, host, direct=bool(seq % 2))
        world.run(0.05)
    assert sent > 0
    assert sent <= forged
