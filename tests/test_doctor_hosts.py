"""Each ailment of a network made on purpose on real hosts (network namespaces), and named rightly by `nwdisco doctor`."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest

from tests.machines import Machine, alive, wait_until
from tests.namespaces import Host, Network, run

SECRET = "a secret of these hosts"
OUTSIDER = """
import socket, sys, time
end = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
end.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
while True:
    end.sendto(sys.argv[1].encode(), ("10.77.0.255", 26300))
    time.sleep(0.2)
"""
"""A sender's pace; no test waits by it."""


def with_beacon(*hosts: Host) -> None:
    """Each has a beacon that runs; not that they find each other."""
    for host in hosts:
        host.program().call("advertise", f"host/{host.number}")


def doctor(machine: Machine) -> dict[str, Any]:
    done = machine.command("doctor", "--json")
    assert done.returncode in (0, 1), done
    assert done.stderr == ""
    report: dict[str, Any] = json.loads(done.stdout)
    assert done.returncode == int(report["verdict"] in ("warning", "error")), report
    return report


def codes(report: dict[str, Any]) -> list[str]:
    return [finding["code"] for finding in report["findings"]]


def only(report: dict[str, Any], code: str, severity: str) -> str:
    """What it says of the one thing that is wrong."""
    assert codes(report) == [code], report
    assert report["findings"][0]["severity"] == report["verdict"] == severity
    what: str = report["findings"][0]["what"]
    return what


def sends(host: Host, datagram: str) -> None:
    """Somebody there sends it to everyone, again and again, until the host is closed."""
    command = [*host.prefix, sys.executable, "-c", OUTSIDER, datagram]
    host.processes.append(subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True))


# --- a network that is well ---


@pytest.mark.parametrize("secret", ["", SECRET], ids=["open", "with a secret"])
def test_a_network_that_is_well_has_no_findings_with_a_beacon_here_and_without(network: Network, secret: str) -> None:
    a, b, c = network.host(), network.host(), network.host()
    for host in (a, b, c):
        host.env["NWDISCO_SECRET"] = secret
    with_beacon(a, b)
    for host, others in ((a, [b]), (c, [a, b])):
        report = doctor(host)
        assert (report["verdict"], codes(report)) == ("ok", []), report
        seen = {one["ips"][0]: one for one in report["facts"]["neighbours"]}
        assert set(seen) == {other.ip() for other in others}
        for one in seen.values():
            assert {"multicast", "broadcast"} <= set(one["answered"])
            assert "multicast" in one["heard"]


def test_two_networks_and_a_host_in_both_are_well(network: Network) -> None:
    left, middle, right = network.host(0), network.host(0, 1), network.host(1)
    other = network.host(0, 1)
    with_beacon(left, middle, right, other)
    for host, count in ((left, 2), (middle, 3)):
        report = doctor(host)
        assert codes(report) == [], report
        assert len(report["facts"]["neighbours"]) == count, "a host in both is one machine with two addresses"


def test_a_second_address_on_one_interface_is_well(network: Network) -> None:
    a, b = network.host(), network.host()
    for host, ip in ((a, "10.77.0.51"), (b, "10.77.0.52")):
        run("ip", "-n", host.namespace, "addr", "add", f"{ip}/24", "brd", "10.77.0.255", "dev", "eth0")
    with_beacon(a, b)
    report = doctor(a)
    assert codes(report) == [], report
    assert [one["ip"] for one in report["facts"]["interfaces"] if one["used"]] == [a.ip(), "10.77.0.51"]


def test_what_another_doctor_asked_with_other_settings_is_no_finding(network: Network) -> None:
    a, b = network.host(), network.host()
    with_beacon(a, b)
    a.env["NWDISCO_SECRET"] = SECRET
    assert codes(doctor(a)) != []
    a.env["NWDISCO_SECRET"] = ""
    assert codes(doctor(a)) == []


def test_alone_on_a_network_is_a_note_and_nothing_to_mend(network: Network) -> None:
    a = network.host()
    report = doctor(a)
    only(report, "alone", "note")
    assert report["facts"]["beacon"] is None
    assert not (a.runtime_dir / "beacon.sock").exists(), "it started a beacon"


def test_the_doctor_leaves_nothing_behind_and_takes_nothing_from_those_who_work(network: Network) -> None:
    a, b = network.host(), network.host()
    with_beacon(a, b)
    watcher = b.program()
    watcher.call("watch")
    wait_until(lambda: len(b.programs[0].call("discover_all")) == 2, "both adverts")
    for _ in range(2):
        assert watcher.call("next_event")[0] == "joined"
    before = run("ip", "netns", "pids", a.namespace).split()
    beacon = a.beacon_pid()
    assert codes(doctor(a)) == []
    assert set(run("ip", "netns", "pids", a.namespace).split()) == set(before)
    assert a.beacon_pid() == beacon
    assert alive(beacon)
    assert [one["address"].partition(":")[0] for one in b.status()["nodes"]] == [a.ip()], "the doctor is no node"
    a.programs[0].call("unadvertise", "host/1")
    assert watcher.call("next_event")[:2] == ["left", "host/1"], "something else was told before"


# --- cables and addresses ---


def test_a_host_without_any_network(network: Network) -> None:
    a = network.host(-1)
    report = doctor(a)
    assert codes(report)[0] in ("no-network", "switched-off"), "some systems give each host tunnels that are off"
    assert report["verdict"] == "error"


def test_no_address(network: Network) -> None:
    a = network.host()
    run("ip", "-n", a.namespace, "addr", "flush", "dev", "eth0")
    report = doctor(a)
    assert "no-address" in codes(report)
    assert report["verdict"] == "error"
    assert [one["name"] for one in report["facts"]["interfaces"] if one["used"]] == ["lo"]


def test_no_address_on_one_of_two_networks_is_a_note(network: Network) -> None:
    a, b = network.host(0, 1), network.host(0)
    with_beacon(b)
    run("ip", "-n", a.namespace, "addr", "flush", "dev", "eth1")
    assert "eth1" in only(doctor(a), "no-address", "note")


def test_the_cable_is_out(network: Network) -> None:
    a, b = network.host(), network.host()
    with_beacon(b)
    a.cable(False)
    wait_until(lambda: "NO-CARRIER" in run("ip", "-n", a.namespace, "link", "show", "eth0"), "the link to go")
    assert "eth0" in only(doctor(a), "no-link", "error")


def test_an_interface_that_is_switched_off(network: Network) -> None:
    a = network.host()
    run("ip", "-n", a.namespace, "link", "set", "eth0", "down")
    report = doctor(a)
    assert "switched-off" in codes(report)
    assert any("eth0" in finding["what"] for finding in report["findings"])
    assert report["verdict"] == "error"


def test_an_interface_s_name_misspelt(network: Network) -> None:
    a, b = network.host(), network.host()
    with_beacon(b)
    a.env["NWDISCO_INTERFACES"] = "eht0"
    said = only(doctor(a), "no-such-interface", "error")
    assert "names eht0" in said
    assert "eth0" in said


def test_an_address_of_another_network_on_the_same_cable(network: Network) -> None:
    a, b = network.host(), network.host()
    b.change_address("10.99.0.2")
    with_beacon(b)
    hears_whatever_comes(a)
    said = only(doctor(a), "other-network", "error")
    assert "10.99.0.2" in said
    assert "10.77.0.0/24" in said


def hears_whatever_comes(host: Host) -> None:
    """Linux, by some settings, drops what comes from where it knows no way to, and from its own addresses."""
    for device in ("all", "eth0"):
        settings = [f"net.ipv4.conf.{device}.{name}" for name in ("accept_local=1", "rp_filter=0")]
        run(*host.prefix, "sysctl", "-qw", *settings)


# --- others who are none of ours ---


def test_another_room_is_worth_a_warning_to_who_has_nobody_and_a_note_to_who_has(network: Network) -> None:
    a, b, c = network.host(), network.host(), network.host()
    b.env["NWDISCO_ROOM"] = "3b"
    with_beacon(a, b)
    assert b.ip() in only(doctor(a), "other-room", "warning")
    with_beacon(c)
    assert b.ip() in only(doctor(a), "other-room", "note")
    assert a.ip() in only(doctor(b), "other-room", "warning")


@pytest.mark.parametrize(
    ("here", "there", "code"),
    [
        (SECRET, SECRET + "!", "other-secret"),
        ("", SECRET, "secret-only-there"),
        (SECRET, "", "secret-only-here"),
    ],
)
def test_another_secret_or_a_secret_on_one_side_only(network: Network, here: str, there: str, code: str) -> None:
    a, b = network.host(), network.host()
    a.env["NWDISCO_SECRET"], b.env["NWDISCO_SECRET"] = here, there
    with_beacon(b)
    assert b.ip() in only(doctor(a), code, "warning")


@pytest.mark.parametrize(
    ("datagram", "code", "severity"),
    [
        ('nw2["beat","kX3v_9Qa",10412,7,2]', "other-version", "warning"),
        ("hello there", "not-nwdisco", "note"),
    ],
)
def test_another_version_and_what_is_no_nwdisco_at_all(
    network: Network, datagram: str, code: str, severity: str
) -> None:
    a, b, c = network.host(), network.host(), network.host()
    with_beacon(c)
    sends(b, datagram)
    assert b.ip() in only(doctor(a), code, severity)


# --- two machines with one address ---


def test_two_machines_with_one_address_as_one_of_them_sees_it(network: Network) -> None:
    a, b, c = network.host(), network.host(), network.host()
    b.change_address(a.ip())
    with_beacon(c)
    report = doctor(a)
    assert "same-address" in codes(report), report
    (double,) = report["facts"]["doubles"]
    assert (double["ip"], double["is_ours"]) == (a.ip(), True)
    assert double["owners"] == [mac_of(b)]


def test_two_machines_with_one_address_as_a_third_one_sees_it(network: Network) -> None:
    a, b, c = network.host(), network.host(), network.host()
    b.change_address(a.ip())
    with_beacon(a, b)
    report = doctor(c)
    assert "same-address-elsewhere" in codes(report), report
    (double,) = report["facts"]["doubles"]
    assert sorted(double["owners"]) == sorted([mac_of(a), mac_of(b)])


def test_without_the_right_to_raw_packets_it_says_that_it_did_not_look(network: Network) -> None:
    a, b = network.host(), network.host()
    with_beacon(b)
    a.prefix = (*a.prefix, "setpriv", "--bounding-set=-net_raw")
    report = doctor(a)
    assert codes(report) == []
    assert report["facts"]["doubles_not_looked"] == "that needs root"


def test_without_that_right_a_beacon_at_our_address_that_is_not_ours_gives_it_away(network: Network) -> None:
    a, b = network.host(), network.host()
    b.change_address(a.ip())
    with_beacon(b)
    hears_whatever_comes(a)
    a.prefix = (*a.prefix, "setpriv", "--bounding-set=-net_raw")
    report = doctor(a)
    assert "same-address" in codes(report), report


def test_other_users_of_this_machine_are_no_machine_with_our_address(network: Network) -> None:
    a, b = network.host(), network.host()
    eve = a.other_user("eve")
    try:
        with_beacon(a, b)
        eve.program().call("advertise", "eve")
        report = doctor(a)
        assert codes(report) == [], report
        assert report["facts"]["doubles"] == []
    finally:
        eve.close()


def mac_of(host: Host) -> str:
    return run(*host.prefix, "cat", "/sys/class/net/eth0/address").strip()
