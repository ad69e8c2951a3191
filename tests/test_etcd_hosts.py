"""LANs and an etcd: real hosts (network namespaces), which hear nothing of another LAN but through etcd."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator

import pytest

from nwdisco import config
from tests.etcd import missing_etcd
from tests.machines import Failed, Program, wait_until
from tests.namespaces import Network, run
from tests.shim import answer_in, frame
from tests.two_lans import (
    IN_STEP_S,
    SHIM,
    Etcdctl,
    Lans,
    ask_shim,
    ask_shim_in_a_line,
    finds,
    link,
    lists,
    names,
    neighbours,
    ready,
)

OUT_S = 6.0
"""For so long a cable is out: longer than any lease of a beacon."""
WATCH_S = 60.0
"""A watch ends then, so that what does not come fails the test."""
Record = Callable[[str, object], None]


@pytest.fixture
def lans(network: Network) -> Iterator[Lans]:
    reason = missing_etcd()
    if reason is not None:
        pytest.skip(reason)
    lans = Lans(network)
    try:
        lans.etcd.start()
        yield lans
    finally:
        lans.close()


def event(program: Program) -> tuple[str, str, str]:
    kind, name, address = program.call("next_event")
    return kind, name, address


def measured(record_property: Record, what: str, seconds: float) -> None:
    record_property(what, round(seconds, 3))
    print(f"{what}: {seconds:.3f}")


# --- a program on one LAN, a program on the other ---


def test_each_lan_discovers_and_watches_what_the_other_has(lans: Lans) -> None:
    hosts = lans.host(0), lans.host(1)
    programs = ready(*hosts)
    for lan, name in enumerate(("printer/east", "printer/west")):
        here, there, ip = programs[lan], programs[1 - lan], hosts[lan].ip(lan)
        there.call("watch", "printer", wait_for_s=WATCH_S)
        there.begin("discover", name, 20)
        address = here.call("advertise", name)
        assert address.startswith(f"{ip}:")
        assert there.end() == address
        assert event(there) == ("joined", name, address)
        here.call("advertise", name, ":9100")
        assert event(there) == ("changed", name, f"{ip}:9100")
        here.call("unadvertise", name)
        assert event(there) == ("left", name, f"{ip}:9100")
    assert [neighbours(host) for host in hosts] == [0, 0], "the LANs do not hear each other"


def test_properties_and_a_program_s_death_are_seen_on_the_other_lan(lans: Lans) -> None:
    there = lans.host(1)
    a, b = ready(lans.host(0), there)
    a.call("advertise", "lamp/a", ":1", properties={"room": "2é"})
    lists(b, {"lamp/a"}, "found")
    (shown,) = json.loads(there.command("list", "--json").stdout.join("[]"))
    assert shown["properties"] == {"room": "2é"}
    b.call("watch", "lamp", wait_for_s=WATCH_S)
    assert event(b)[0] == "joined"
    a.kill()
    assert event(b)[:2] == ("left", "lamp/a")


def test_messages_and_news_go_both_ways_between_the_lans(lans: Lans) -> None:
    programs = ready(lans.host(0), lans.host(1))
    for number, (here, there) in enumerate((programs, programs[::-1])):
        address, news = (here.call("advertise", f"{what}/{number}") for what in ("echo", "news"))
        assert there.call("discover", f"echo/{number}", 20) == address
        here.begin("echo", address, 1)
        assert there.call("send_message_to", address, ["hello", number], 20) == ["hello", number]
        assert here.end() == 1
        assert there.call("discover", f"news/{number}", 20) == news
        assert there.call("wait_for_news_from", news, "n", 0) == [None, None]
        there.begin("wait_for_news_from", news, "n", 20)
        here.call("send_news_to", news, "n", number)
        assert there.end() == ["n", number]


def test_a_client_of_the_shim_is_found_on_the_other_lan_and_its_shim(lans: Lans) -> None:
    a, b = lans.host(0, NWDISCO_SHIM=SHIM), lans.host(1, NWDISCO_SHIM=SHIM)
    _, on_b = ready(a, b)
    on_b.call("watch", "hive", wait_for_s=WATCH_S)
    taken = ask_shim_in_a_line(a, type="register", key="hive/a", values=f"{a.ip(0)}:80", timeout=3600)
    assert taken == {"ok": True}
    assert on_b.call("discover", "hive/a", 20) == f"{a.ip(0)}:80"
    assert event(on_b) == ("joined", "hive/a", f"{a.ip(0)}:80")
    (found,) = ask_shim_in_a_line(b, type="query", key="hive/a")["services"]
    assert (found["ip"], found["port"]) == (a.ip(0), 80)
    assert answer_in(ask_shim(b, frame({"action": "query", "type": "hive"}))).services == [(a.ip(0), 80)]
    registered = frame({"action": "register", "type": "hive", "ip": "0.0.0.0", "port": 81})
    uuid = answer_in(ask_shim(a, registered)).text
    assert event(on_b) == ("joined", f"hive/{uuid}", f"{a.ip(0)}:81")
    assert event(on_b) == ("left", f"hive/{uuid}", f"{a.ip(0)}:81"), "5 s without a heartbeat"
    assert ask_shim_in_a_line(a, type="destruction", key="hive/a") == {"ok": True}
    assert event(on_b)[:2] == ("left", "hive/a")


def test_of_two_adverts_of_one_name_the_last_wins_on_both_lans(lans: Lans) -> None:
    a, b = lans.host(0), lans.host(1)
    on_a, on_b = ready(a, b)
    on_a.call("advertise", "same", ":1")
    finds(on_b, "same", f"{a.ip(0)}:1", "found")
    with pytest.raises(Failed, match=f"NameTakenError.*{a.ip(0)}:1"):
        on_b.call("advertise", "same", ":2", fail_if_exists=True)
    on_b.call("advertise", "same", ":3")
    for program in (on_a, on_b):
        finds(program, "same", f"{b.ip(1)}:3", "the last")
    on_b.call("unadvertise", "same")
    for program in (on_a, on_b):
        finds(program, "same", f"{a.ip(0)}:1", "the one before, which stands still")


def test_rooms_keep_apart_from_lan_to_lan_too(lans: Lans) -> None:
    programs = ready(*(lans.host(lan, NWDISCO_ROOM=room) for lan, room in ((0, "3b"), (1, "3b"), (1, "3c"))))
    for program, name in zip(programs, ("lamp/a", "lamp/b", "lamp/c"), strict=True):
        program.call("advertise", name, ":1")
    for program in programs[:2]:
        lists(program, {"lamp/a", "lamp/b"}, "the own room's")
    assert names(programs[2]) == ["lamp/c"]
    late = lans.host(0, NWDISCO_ROOM="3c").program()
    lists(late, {"lamp/c"}, "the own room's, and nothing of the other on the same LAN")


# --- cables ---


def test_a_host_whose_cable_is_pulled_is_gone_on_the_other_lan_within_its_lease(
    lans: Lans, record_property: Record
) -> None:
    a, b = lans.host(0), lans.host(1)
    on_a, on_b = ready(a, b)
    on_a.call("advertise", "lamp/a", ":1")
    on_b.call("advertise", "lamp/b", ":2")
    lists(on_b, {"lamp/a", "lamp/b"}, "found")
    a.cable(False)
    measured(record_property, "gone_s", lists(on_b, {"lamp/b"}, "gone with its lease"))
    lists(on_a, {"lamp/a"}, "the host without a cable has its own alone")


def test_a_host_that_was_away_for_longer_than_its_lease_is_registered_again(
    lans: Lans, record_property: Record
) -> None:
    a, b = lans.host(0), lans.host(1)
    on_a, on_b = ready(a, b)
    on_a.call("advertise", "lamp/a", ":1")
    on_b.call("advertise", "lamp/b", ":2")
    lists(on_b, {"lamp/a", "lamp/b"}, "found")
    lease = link(a)["lease"]
    a.cable(False)
    pulled_at = time.monotonic()
    lists(on_b, {"lamp/b"}, "gone")
    on_a.call("advertise", "lamp/meanwhile", ":3")
    on_b.call("advertise", "lamp/b", ":4")
    wait_until(lambda: time.monotonic() - pulled_at > OUT_S, "the cable is out for so long")
    a.cable(True)
    plugged_at = time.monotonic()
    lists(on_b, {"lamp/a", "lamp/b", "lamp/meanwhile"}, "registered again")
    measured(record_property, "registered_s", time.monotonic() - plugged_at)
    finds(on_a, "lamp/b", f"{b.ip(1)}:4", "in step with the other LAN")
    measured(record_property, "in_step_s", time.monotonic() - plugged_at)
    assert names(on_a) == ["lamp/a", "lamp/b", "lamp/meanwhile"]
    assert link(a)["lease"] != lease


def test_a_compaction_while_a_host_was_away_leaves_nothing_stale_and_nothing_out(
    lans: Lans, record_property: Record
) -> None:
    a, b = lans.host(0), lans.host(1)
    on_a, on_b = ready(a, b)
    for name in ("stays", "changes", "goes"):
        on_a.call("advertise", f"lamp/{name}", ":1")
    lists(on_b, {"lamp/stays", "lamp/changes", "lamp/goes"}, "found")
    b.cable(False, 1)
    on_a.call("advertise", "lamp/changes", ":2")
    on_a.call("unadvertise", "lamp/goes")
    on_a.call("advertise", "lamp/new", ":3")
    wait_until(lambda: "lamp/new" in lans.etcd.ctl("get", "nwdisco/", "--prefix", "--keys-only"), "in etcd")
    wait_until(lambda: link(b)["why_not"], "its watch is given up")
    lans.etcd.ctl("compact", str(lans.etcd.revision()))
    b.cable(True, 1)
    measured(
        record_property,
        "in_step_s",
        lists(on_b, {"lamp/stays", "lamp/changes", "lamp/new"}, "in step after compaction"),
    )
    assert on_b.call("discover", "lamp/changes", 0) == f"{a.ip(0)}:2"


# --- LAN and etcd together ---


def test_an_advert_that_is_heard_both_ways_is_one_advert(lans: Lans) -> None:
    a, neighbour, far = lans.host(0), lans.host(0), lans.host(1)
    on_a, *others = ready(a, neighbour, far)
    for program in others:
        program.call("watch", "lamp", wait_for_s=WATCH_S)
    doomed = a.program()
    for address, kind in ((f"{a.ip(0)}:1", "joined"), (f"{a.ip(0)}:2", "changed")):
        doomed.call("advertise", "lamp/a", address)
        for program in others:
            assert event(program) == (kind, "lamp/a", address)
            assert names(program) == ["lamp/a"]
        wait_until(lambda: link(neighbour)["imported"] == 1, "the neighbour has it from etcd too")
    doomed.kill()
    for program in others:
        assert event(program) == ("left", "lamp/a", f"{a.ip(0)}:2")
    wait_until(lambda: link(neighbour)["imported"] == 0, "gone from etcd too")
    on_a.call("advertise", "lamp/next", ":3")
    for program in others:
        assert event(program)[:2] == ("joined", "lamp/next"), "one joined, one changed, one left, and nothing else"
    late = lans.host(0)
    assert late.names() == ["lamp/next"]


def test_a_program_that_is_killed_is_gone_on_its_lan_at_once_however_etcd_is(lans: Lans) -> None:
    a, neighbour, far = lans.host(0), lans.host(0), lans.host(1)
    on_a, on_neighbour, on_far = ready(a, neighbour, far)
    on_a.call("advertise", "lamp/a", ":1")
    for program in (on_neighbour, on_far):
        lists(program, {"lamp/a"}, "found")
    on_neighbour.call("watch", "lamp", wait_for_s=WATCH_S)
    assert event(on_neighbour)[0] == "joined"
    wait_until(lambda: link(neighbour)["imported"] == 1, "heard both ways")
    lans.etcd.pause()
    try:
        on_a.kill()
        assert event(on_neighbour)[:2] == ("left", "lamp/a")
        assert names(on_neighbour) == []
    finally:
        lans.etcd.resume()
    lists(on_far, set(), "gone on the other LAN when etcd goes on")
    wait_until(lambda: link(neighbour)["imported"] == 0, "what etcd had of it")
    assert names(on_neighbour) == []


def test_the_lan_goes_on_as_before_while_etcd_is_away_and_the_other_lan_is_in_step_again_after_it(
    lans: Lans, record_property: Record
) -> None:
    hosts = lans.host(0), lans.host(0), lans.host(1)
    a, neighbour, far = ready(*hosts)
    a.call("advertise", "lamp/a", ":1")
    far.call("advertise", "lamp/far", ":9")
    for program in (a, neighbour, far):
        lists(program, {"lamp/a", "lamp/far"}, "found")
    lans.etcd.kill()
    neighbour.call("watch", "fan", wait_for_s=WATCH_S)
    a.call("advertise", "fan/new", ":2")
    assert event(neighbour) == ("joined", "fan/new", f"{hosts[0].ip(0)}:2")
    a.call("advertise", "fan/new", ":3")
    assert event(neighbour) == ("changed", "fan/new", f"{hosts[0].ip(0)}:3")
    for program, there in ((a, {"lamp/a", "fan/new"}), (neighbour, {"lamp/a", "fan/new"}), (far, {"lamp/far"})):
        lists(program, there, "the other LAN's is dropped with the lease, the own LAN's stays")
    lans.etcd.start()
    began_at = time.monotonic()
    for program in (a, neighbour, far):
        lists(program, {"lamp/a", "lamp/far", "fan/new"}, "in step after etcd's return")
    measured(record_property, "in_step_s", time.monotonic() - began_at)


def test_a_neighbour_that_the_lan_does_not_let_through_stays_listed_through_etcd(lans: Lans) -> None:
    a, deaf = lans.host(0), lans.host(0)
    on_a, on_deaf = ready(a, deaf)
    on_a.call("advertise", "lamp/a", ":1")
    on_deaf.call("watch", "lamp", wait_for_s=WATCH_S)
    assert event(on_deaf)[:2] == ("joined", "lamp/a")
    wait_until(lambda: link(deaf)["imported"] == 1 and neighbours(deaf) == 1, "known both ways")
    deaf.drop("meta l4proto udp")
    wait_until(lambda: neighbours(deaf) == 0, "nothing is heard of it")
    assert names(on_deaf) == ["lamp/a"]
    on_a.call("advertise", "lamp/a", ":2")
    assert event(on_deaf) == ("changed", "lamp/a", f"{a.ip(0)}:2"), "and nothing in between"
    run(*deaf.prefix, "nft", "delete table inet t")
    wait_until(lambda: neighbours(deaf) == 1, "heard again")
    on_a.call("unadvertise", "lamp/a")
    assert event(on_deaf) == ("left", "lamp/a", f"{a.ip(0)}:2"), "and nothing in between"


def test_hosts_without_etcd_have_their_lan_as_if_there_were_none(lans: Lans) -> None:
    a, bare, far = lans.host(0), lans.host(0, is_bare=True), lans.host(1)
    on_a, on_bare, on_far = ready(a, bare, far)
    on_bare.call("watch", "lamp", wait_for_s=WATCH_S)
    on_far.call("advertise", "lamp/far", ":1")
    lists(on_a, {"lamp/far"}, "found through etcd")
    on_a.call("advertise", "lamp/a", ":2")
    assert event(on_bare) == ("joined", "lamp/a", f"{a.ip(0)}:2")
    on_bare.call("advertise", "lamp/bare", ":3")
    lists(on_a, {"lamp/a", "lamp/bare", "lamp/far"}, "its LAN and the other")
    lists(on_bare, {"lamp/a", "lamp/bare"}, "its LAN")
    lists(on_far, {"lamp/a", "lamp/far"}, "all that have etcd")
    lans.etcd.kill()
    on_a.call("unadvertise", "lamp/a")
    assert event(on_bare)[:2] == ("joined", "lamp/bare")
    assert event(on_bare)[:2] == ("left", "lamp/a"), "and nothing in between"
    wait_until(lambda: link(a)["why_not"], "etcd is missed where it was used")
    lists(on_bare, {"lamp/bare"}, "as if there were no etcd")


# --- addresses ---


def test_each_lan_is_given_the_address_under_which_it_reaches_a_host(lans: Lans) -> None:
    between = lans.host(0, 1)
    on_between, *others = ready(between, lans.host(0), lans.host(1), lans.host(2))
    address = on_between.call("advertise", "echo")
    port = address.rpartition(":")[2]
    for program, lan in zip(others, (0, 1, 0), strict=True):
        there = f"{between.ip(lan)}:{port}"
        finds(program, "echo", there, "on its own LAN the LAN's, beyond that the one on the way to etcd")
        on_between.begin("echo", address, 1)
        assert program.call("send_message_to", there, lan, 20) == lan
        assert on_between.end() == 1
    on_between.call("advertise", "given", f"{between.ip(1)}:80")
    for program in others:
        finds(program, "given", f"{between.ip(1)}:80", "an address that was given is everybody's")


def test_a_host_whose_address_changes_is_found_under_the_new_one_on_the_other_lan(lans: Lans) -> None:
    a, b = lans.host(0), lans.host(1)
    on_a, on_b = ready(a, b)
    on_b.call("advertise", "lamp/b", ":1")
    finds(on_a, "lamp/b", f"{b.ip(1)}:1", "found")
    b.change_address("10.77.1.99", 1)
    lans.set_route(b, 1)
    finds(on_a, "lamp/b", "10.77.1.99:1", "under its new address")
    lists(on_a, {"lamp/b"}, "once")


# --- programs that know etcd alone ---


def test_a_program_on_another_host_that_knows_etcd_alone_is_found_and_finds_ours(
    lans: Lans, record_property: Record
) -> None:
    a = lans.host(0, NWDISCO_ETCD_PLAIN="hello")
    stranger = lans.host(1, is_bare=True)
    (on_a,) = ready(a)
    theirs = Etcdctl(stranger, lans.etcd)
    try:
        granted = theirs.run("lease", "grant", f"{config.ETCD_PLAIN_LEASE_S:.0f}").split()[1]
        lease = int(granted, 16)
        kept = theirs.start("lease", "keep-alive", granted)
        watch = theirs.start("watch", "hello/", "--prefix", "--rev=1")
        assert watch.stdout is not None
        seen = iter(watch.stdout.readline, "")
        theirs.run("put", f"hello/{lease}", f"{stranger.ip(1)}:8080", f"--lease={granted}")
        assert [next(seen).strip() for _ in range(3)] == ["PUT", f"hello/{lease}", f"{stranger.ip(1)}:8080"]
        assert on_a.call("discover", f"hello/{lease}", 20) == f"{stranger.ip(1)}:8080"
        ours = on_a.call("advertise", "hello/ours")
        key = f"hello/{wait_until(lambda: link(a)['lease'], 'a lease')}"
        assert [next(seen).strip() for _ in range(3)] == ["PUT", key, ours]
        there = theirs.run("get", "hello/", "--prefix").split()
        assert dict(zip(there[::2], there[1::2], strict=True)) == {
            f"hello/{lease}": f"{stranger.ip(1)}:8080",
            key: ours,
        }
        lists(on_a, {f"hello/{lease}", "hello/ours"}, "each once")
        on_a.call("unadvertise", "hello/ours")
        assert [next(seen).strip() for _ in range(2)] == ["DELETE", key]
        assert next(seen).strip() == "", "a deleted key has no value"
        kept.kill()
        gone_s = lists(on_a, set(), "gone with its lease", config.ETCD_PLAIN_LEASE_S + IN_STEP_S)
        measured(record_property, "plain_gone_s", gone_s)
        assert [next(seen).strip() for _ in range(2)] == ["DELETE", f"hello/{lease}"]
    finally:
        theirs.close()
