"""The NetworkZero link between hosts, with NetworkZero from PyPI as it is."""

from __future__ import annotations

import json
import os
import signal
import time

import pytest

from tests import networkzero_peer
from tests.machines import wait_until
from tests.namespaces import Network
from tests.networkzero_hosts import (
    PROMPT_S,
    SHORT_S,
    Listener,
    Watching,
    a_host,
    holds,
    theirs,
    with_link,
)


@pytest.fixture
def python() -> str:
    return networkzero_peer.python()


# --- both ways ---


def test_networkzero_and_nwdisco_find_each_other_s_services_and_so_does_a_host_without_the_link(
    network: Network, python: str
) -> None:
    a, b, c = a_host(network), with_link(network), a_host(network)
    nz = theirs(a, python)
    ours, without = b.program(), c.program()
    their_address = nz.call("advertise", "theirs/a")
    our_address = ours.call("advertise", "ours/b", properties={"floor": "2"})
    c_address = without.call("advertise", "ours/c")
    assert their_address.startswith(f"{a.ip()}:")
    assert ours.call("discover", "theirs/a", 10) == their_address
    assert without.call("discover", "theirs/a", 10) == their_address
    assert nz.call("discover", "ours/b", 10) == our_address
    assert nz.call("discover", "ours/c", 10) == c_address
    wait_until(
        lambda: (
            sorted(map(tuple, nz.call("discover_all")))
            == sorted([("theirs/a", their_address), ("ours/b", our_address), ("ours/c", c_address)])
        ),
        "all three",
    )
    assert nz.call("discover_group", "ours") in (
        [["ours/b", our_address], ["ours/c", c_address]],
        [["ours/c", c_address], ["ours/b", our_address]],
    )
    listed = [json.loads(line) for line in c.command("list", "theirs", "--json").stdout.splitlines()]
    assert [(service["name"], service["properties"]) for service in listed] == [("theirs/a", {"from": "networkzero"})]


def test_a_networkzero_program_that_is_killed_is_gone_everywhere_within_its_time_to_live(
    network: Network, python: str
) -> None:
    a, b, c = a_host(network), with_link(network), a_host(network)
    nz = theirs(a, python)
    address = nz.call("advertise", "theirs/a", ttl_s=SHORT_S)
    for host in (b, c):
        assert host.call("discover", "theirs/a", 10) == address
    holds(lambda: b.names() == c.names() == ["theirs/a"], "its repetitions keep it", SHORT_S + 1)
    nz.kill()
    killed_at = time.monotonic()
    wait_until(lambda: b.names() == c.names() == [], "gone")
    assert time.monotonic() - killed_at < SHORT_S + PROMPT_S


def test_a_nwdisco_program_that_is_killed_is_gone_from_networkzero_at_once(network: Network, python: str) -> None:
    a, b, c = a_host(network), with_link(network), a_host(network)
    nz = theirs(a, python)
    programs = {"ours/b": b.program(), "ours/c": c.program()}
    for name, program in programs.items():
        program.call("advertise", name)
        assert nz.call("discover", name, 10)
    for name, program in programs.items():
        program.kill()
        killed_at = time.monotonic()
        wait_until(lambda name=name: name not in dict(nz.call("discover_all")), f"{name} gone")
        assert time.monotonic() - killed_at < PROMPT_S
    holds(lambda: nz.call("discover_all") == [], "it stays away", 3)


def test_a_beacon_that_ends_takes_its_adverts_back(network: Network, python: str) -> None:
    a, b = a_host(network), with_link(network)
    nz = theirs(a, python)
    b.program().call("advertise", "ours/b")
    assert nz.call("discover", "ours/b", 10)
    b.processes[0].send_signal(signal.SIGTERM)
    ended_at = time.monotonic()
    b.programs[-1].kill()
    wait_until(lambda: nz.call("discover_all") == [], "gone")
    assert time.monotonic() - ended_at < PROMPT_S


# --- several beacons with the link ---


def test_two_links_make_no_loop_no_echo_and_no_flapping(network: Network, python: str) -> None:
    a, b, c, d = a_host(network), with_link(network), with_link(network), a_host(network)
    nz = theirs(a, python)
    watches = [Watching(host) for host in (b, c, d)]
    ours = d.program()
    our_address = ours.call("advertise", "ours/d")
    their_address = nz.call("advertise", "theirs/a", ttl_s=SHORT_S)
    for watching in watches:
        wait_until(lambda w=watching: w.events("theirs/a") and w.events("ours/d"), "both are seen")
    assert nz.call("discover", "ours/d", 10) == our_address
    holds(lambda: "ours/d" in dict(nz.call("discover_all")), "it stays", SHORT_S + 3)
    for watching in watches:
        assert watching.events("theirs/a") == [("joined", their_address)]
        assert watching.events("ours/d") == [("joined", our_address)]
    statuses = {host.number: host.status() for host in (b, c)}
    for status in statuses.values():
        assert status["adverts"] == 2
        assert status["networkzero"]["exported"] == 1
    assert sum(status["networkzero"]["imported"] for status in statuses.values()) in (1, 2)
    ours.kill()
    nz.kill()
    killed_at = time.monotonic()
    for watching in watches:
        wait_until(lambda w=watching: w.events("theirs/a")[1:] == [("left", their_address)], "theirs left")
    assert time.monotonic() - killed_at < SHORT_S + PROMPT_S
    holds(lambda: b.names() == c.names() == d.names() == [], "it does not come back", 4)
    for watching in watches:
        assert watching.events("theirs/a") == [("joined", their_address), ("left", their_address)]
        assert watching.events("ours/d") == [("joined", our_address), ("left", our_address)]


def test_a_machine_with_the_link_that_falls_silent_is_gone_from_networkzero_when_another_has_it_too(
    network: Network, python: str
) -> None:
    a, b, c = a_host(network), with_link(network), with_link(network)
    nz = theirs(a, python)
    b.program().call("advertise", "ours/b")
    assert nz.call("discover", "ours/b", 10)
    assert c.call("discover", "ours/b", 10)
    holds(lambda: "ours/b" in dict(nz.call("discover_all")), "it stays", 3)
    b.cable(False)
    silent_at = time.monotonic()
    wait_until(lambda: nz.call("discover_all") == [], "gone")
    assert time.monotonic() - silent_at < 5.5 + PROMPT_S


def test_two_programs_of_networkzero_s_with_one_name_do_not_flap_on_nwdisco_s_machines(
    network: Network, python: str
) -> None:
    a, b, c, d, e = a_host(network), with_link(network), with_link(network), a_host(network), a_host(network)
    watches = [Watching(host) for host in (b, c, d)]
    first = theirs(a, python).call("advertise", "name")
    for watching in watches:
        wait_until(lambda w=watching: w.events("name") == [("joined", first)], "the first")
    second = theirs(e, python).call("advertise", "name")
    both = [("joined", first), ("changed", second)]
    for watching in watches:
        wait_until(lambda w=watching: w.events("name") == both, "the second")
    holds(lambda: all(w.events("name") == both for w in watches), "nothing more", 7)


def test_of_two_links_one_tells_what_stands_on_a_third_host_and_the_other_takes_over_when_it_ends(
    network: Network, python: str
) -> None:
    a, b, c, d = a_host(network), with_link(network), with_link(network), a_host(network)
    nz = theirs(a, python)
    address = d.program().call("advertise", "ours/d")
    assert nz.call("discover", "ours/d", 10) == address
    listener = Listener(a)
    sources = {ip for ip in listener.sources_of("ours/d", 5)}
    assert len(sources) == 1
    first, second = (b, c) if sources == {b.ip()} else (c, b)
    os.kill(first.status()["pid"], signal.SIGKILL)
    wait_until(lambda: second.ip() in listener.sources_of("ours/d", 1), "the other tells it")
    assert nz.call("discover", "ours/d", 0) == address


# --- several networks ---


def test_each_network_gets_the_address_under_which_it_reaches_this_machine(network: Network, python: str) -> None:
    left, right, both = a_host(network, 0), a_host(network, 1), with_link(network, 0, 1)
    program = both.program()
    program.call("advertise", "ours", 50_001)
    for host, lan in ((left, 0), (right, 1)):
        assert theirs(host, python).call("discover", "ours", 10) == f"{both.ip(lan)}:50001"
    both.change_address("10.77.1.99", 1)
    wait_until(
        lambda: dict(right.programs[0].call("discover_all")).get("ours") == "10.77.1.99:50001", "the new address"
    )
