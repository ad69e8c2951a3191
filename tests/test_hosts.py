"""The main job on real hosts: network namespaces, real processes, real sockets."""

from __future__ import annotations

import os
import signal

import pytest

from tests.machines import Failed, alive, wait_until
from tests.namespaces import Host, Network


def names(host: Host) -> set[str]:
    return {name for name, _ in host.programs[0].call("discover_all")}


def ready(*hosts: Host) -> None:
    """Each host has a program (its first) and a beacon that knows the others."""
    for host in hosts:
        host.program()
    for host in hosts:
        host.programs[0].begin("discover_all")
    for host in hosts:
        host.programs[0].end()


def wait_for_names(host: Host, wanted: set[str], deadline_s: float = 20.0) -> None:
    wait_until(lambda: names(host) == wanted, f"names {sorted(wanted)} on host {host.number}", deadline_s)


def test_a_waiting_discover_returns_when_another_host_advertises(network: Network) -> None:
    a, b = network.host(), network.host()
    ready(a, b)
    b.programs[0].begin("discover", "printer/a", 20)
    address = a.programs[0].call("advertise", "printer/a")
    assert b.programs[0].end() == address
    assert address.startswith(f"{a.ip()}:")


def test_who_comes_late_finds_all_at_the_first_call(network: Network) -> None:
    a, b = network.host(), network.host()
    first = a.program()
    for number in range(50):
        first.call("advertise", f"lamp/{number}", properties={"room": "2"})
    assert len(b.call("discover_group", "lamp")) == 50
    b.command("stop")
    assert b.call("discover", "lamp/7", 0) == first.call("discover", "lamp/7")
    b.command("stop")
    assert b.call("discover", "nobody", 0) is None


def test_changes_and_withdrawals_are_seen_by_a_watch(network: Network) -> None:
    a, b = network.host(), network.host()
    ready(a, b)
    b.programs[0].call("watch", "printer")
    a.programs[0].call("advertise", "other", ":1")
    a.programs[0].call("advertise", "printer/a", ":8080")
    assert b.programs[0].call("next_event") == ["joined", "printer/a", f"{a.ip()}:8080"]
    a.programs[0].call("advertise", "printer/a", ":9090")
    assert b.programs[0].call("next_event") == ["changed", "printer/a", f"{a.ip()}:9090"]
    a.programs[0].call("unadvertise", "printer/a")
    assert b.programs[0].call("next_event") == ["left", "printer/a", f"{a.ip()}:9090"]


def test_a_killed_program_is_gone_everywhere_and_its_beacon_stays(network: Network) -> None:
    a, b = network.host(), network.host()
    ready(a, b)
    doomed = a.program()
    doomed.call("advertise", "doomed")
    a.programs[0].call("advertise", "stays")
    wait_for_names(b, {"doomed", "stays"})
    doomed.kill()
    wait_for_names(b, {"stays"}, deadline_s=3)


def test_a_killed_beacon_is_replaced_and_its_adverts_never_leave_anybodys_list(network: Network) -> None:
    a, b = network.host(), network.host()
    ready(a, b)
    for number in range(10):
        a.programs[0].call("advertise", f"lamp/{number}")
    wait_until(lambda: len(names(b)) == 10, "ten lamps")
    watcher = b.program()
    watcher.call("watch", None, wait_for_s=8)
    for _ in range(10):
        assert watcher.call("next_event")[0] == "joined"
    old = a.beacon_pid()
    a.kill_beacon()
    watcher.begin("next_event")
    assert watcher.end() is None, "something changed on the other host"
    assert a.beacon_pid() != old
    assert len(names(b)) == 10


def test_a_pulled_cable_empties_the_lists_and_put_back_fills_them(network: Network) -> None:
    a, b, c = network.host(), network.host(), network.host()
    ready(a, b, c)
    a.programs[0].call("advertise", "from-a")
    c.programs[0].call("advertise", "from-c")
    for host in (a, b, c):
        wait_for_names(host, {"from-a", "from-c"})
    a.cable(False)
    wait_for_names(b, {"from-c"}, deadline_s=8)
    wait_for_names(a, {"from-a"}, deadline_s=8)
    a.cable(True)
    for host in (a, b, c):
        wait_for_names(host, {"from-a", "from-c"})


def test_30_percent_loss_loses_no_advert_and_drops_no_live_one(network: Network) -> None:
    hosts = [network.host() for _ in range(4)]
    for host in hosts:
        host.drop("meta l4proto udp numgen random mod 100 < 30")
    ready(*hosts)
    watcher = hosts[0].program()
    for host in hosts:
        for number in range(10):
            host.programs[0].call("advertise", f"{host.number}/{number}")
    for host in hosts:
        wait_until(lambda h=host: len(names(h)) == 40, "40 adverts")  # type: ignore[misc]
    watcher.call("watch", None, wait_for_s=15)
    for _ in range(40):
        assert watcher.call("next_event")[0] == "joined"
    assert watcher.call("next_event") is None, "a live advert left or changed within 15 s"


def test_broadcast_alone_is_enough(network: Network) -> None:
    holds_with_dropped(network, "ip daddr 224.0.0.0/4")


def test_multicast_alone_is_enough(network: Network) -> None:
    holds_with_dropped(network, "ip daddr 10.77.0.255")


def holds_with_dropped(network: Network, rule: str) -> None:
    a, b = network.host(), network.host()
    for host in (a, b):
        host.drop(rule)
    ready(a, b)
    a.programs[0].call("advertise", "printer/a")
    b.programs[0].call("watch", None, wait_for_s=12)
    assert b.programs[0].call("next_event")[:2] == ["joined", "printer/a"]
    assert b.programs[0].call("next_event") is None, "the live advert left within 12 s"
    late = network.host()
    late.drop(rule)
    wait_until(lambda: late.names() == ["printer/a"], "who comes late finds it")


def test_each_side_of_a_host_with_two_networks_gets_an_address_that_it_can_reach(network: Network) -> None:
    left, middle, right = network.host(0), network.host(0, 1), network.host(1)
    ready(left, middle, right)
    middle.programs[0].call("advertise", "bridge", ":80")
    assert left.programs[0].call("discover", "bridge") == f"{middle.ip(0)}:80"
    assert right.programs[0].call("discover", "bridge") == f"{middle.ip(1)}:80"
    left.programs[0].call("advertise", "on-the-left", ":81")
    assert middle.programs[0].call("discover", "on-the-left") == f"{left.ip(0)}:81"
    assert right.programs[0].call("discover", "on-the-left", 0) is None


def test_an_address_that_changes_under_a_running_beacon_changes_everywhere(network: Network) -> None:
    a, b = network.host(), network.host()
    ready(a, b)
    assert a.programs[0].call("advertise", "printer/a", ":80") == "10.77.0.1:80"
    assert b.programs[0].call("discover", "printer/a") == "10.77.0.1:80"
    a.change_address("10.77.0.99")
    for host in (a, b):
        wait_until(
            lambda h=host: h.programs[0].call("discover", "printer/a", 0) == "10.77.0.99:80",
            "the new address",
            5,  # type: ignore[misc]
        )
    b.programs[0].call("advertise", "printer/b", ":81")
    assert a.programs[0].call("discover", "printer/b") == f"{b.ip()}:81"


def test_without_any_network_programs_of_a_host_find_each_other_and_a_network_that_comes_is_used(
    network: Network,
) -> None:
    a, b = network.host(-1), network.host()
    ready(a, b)
    assert a.programs[0].call("advertise", "printer/a", ":80") == "127.0.0.1:80"
    assert a.call("discover", "printer/a") == "127.0.0.1:80"
    b.programs[0].begin("discover", "printer/a", 20)
    a.plug_in(0)
    assert b.programs[0].end() == f"{a.ip()}:80"
    wait_until(lambda: a.programs[0].call("discover", "printer/a") == f"{a.ip()}:80", "the new address on A itself")


def test_two_users_beacons_on_one_host_find_each_other_and_the_lan(network: Network) -> None:
    a, b = network.host(), network.host()
    other = a.other_user("eve")
    try:
        ready(a, b)
        eve = other.program()
        eve.call("advertise", "eve", ":1")
        a.programs[0].call("advertise", "adam", ":2")
        for program in (a.programs[0], b.programs[0], eve):
            assert program.call("discover", "eve") == f"{a.ip()}:1"
            assert program.call("discover", "adam") == f"{a.ip()}:2"
        assert a.beacon_pid() != other.beacon_pid()
        eve.kill()
        wait_for_names(b, {"adam"}, 3)
    finally:
        other.close()


def test_two_users_find_each_other_without_any_network(network: Network) -> None:
    a = network.host(-1)
    other = a.other_user("eve")
    try:
        ready(a)
        eve = other.program()
        eve.call("advertise", "eve", ":1")
        assert a.programs[0].call("discover", "eve") == "127.0.0.1:1"
    finally:
        other.close()


@pytest.mark.usefixtures("many_neighbours")
def test_fifty_hosts_up_at_once_all_see_all(network: Network) -> None:
    hosts = [network.host() for _ in range(50)]
    programs = [host.program() for host in hosts]
    for host, program in zip(hosts, programs, strict=True):
        program.begin("advertise", f"pi/{host.number}")
    for program in programs:
        program.end()
    wanted = {f"pi/{host.number}" for host in hosts}
    for host in hosts:
        wait_for_names(host, wanted)


def test_the_name_advertised_last_wins_on_every_host_and_fail_if_exists_counts_the_whole_lan(network: Network) -> None:
    a, b, c = network.host(), network.host(), network.host()
    ready(a, b, c)
    a.programs[0].call("advertise", "same", ":1")
    assert b.programs[0].call("discover", "same") == f"{a.ip()}:1"
    b.programs[0].call("advertise", "same", ":2")
    for host in (a, b, c):
        wait_until(lambda h=host: h.programs[0].call("discover", "same") == f"{b.ip()}:2", "the last advert")  # type: ignore[misc]
    newcomer = network.host().program()
    with pytest.raises(Failed, match=f"NameTakenError.*{b.ip()}:2"):
        newcomer.call("advertise", "same", fail_if_exists=True)


def test_a_beacon_that_is_told_to_stop_says_goodbye(network: Network) -> None:
    a, b = network.host(), network.host()
    beacon = a.start("beacon")
    wait_until(lambda: a.command("status").returncode == 0, "the beacon, before a program starts another one")
    ready(a, b)
    a.programs[0].call("advertise", "printer/a")
    wait_for_names(b, {"printer/a"})
    a.programs[0].kill()
    wait_until(lambda: b.status()["nodes"], "the other node")
    beacon.send_signal(signal.SIGTERM)
    wait_until(lambda: not b.status()["nodes"], "the goodbye", 3)
    assert beacon.wait(5) == 0


def test_nothing_is_sent_after_the_last_program_and_the_beacon_ends_by_itself(network: Network) -> None:
    a = network.host()
    a.env["NWDISCO_IDLE_S"] = "0.5"
    program = a.program()
    program.call("advertise", "printer/a")
    pid = a.beacon_pid()
    assert alive(pid)
    program.finish()
    wait_until(lambda: not alive(pid), "the beacon's end", 10)
    assert not os.path.exists(a.runtime_dir / "beacon.sock")
