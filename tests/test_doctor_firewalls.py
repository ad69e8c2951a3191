"""Firewalls and switches that drop something, on real hosts (network namespaces), and what `nwdisco doctor` says of each."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest

from tests.namespaces import Host, Network, run
from tests.test_doctor_hosts import SECRET, codes, doctor, only, with_beacon

HOLDER = """
import socket
end = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
end.bind(("", 26300))
print("bound", flush=True)
import sys; sys.stdin.read()
"""


def nft(host: Host, *rules: str) -> None:
    for rule in rules:
        run(*host.prefix, "nft", rule)


# --- a firewall here ---


def test_multicast_that_is_dropped_here(network: Network) -> None:
    a, b = network.host(), network.host()
    with_beacon(a, b)
    a.drop("ip daddr 224.0.0.0/4")
    said = only(doctor(a), "multicast-dropped-here", "warning")
    assert "eth0" in said
    assert "nftables: table inet t, chain in" in said


def test_broadcast_that_is_dropped_here(network: Network) -> None:
    a, b = network.host(), network.host()
    with_beacon(a, b)
    a.drop("ip daddr 10.77.0.255")
    assert "eth0" in only(doctor(a), "broadcast-dropped-here", "warning")


@pytest.mark.parametrize("rule", ["meta l4proto udp", "iif eth0 meta l4proto udp", "iif eth0 ct state new"])
def test_all_that_arrives_dropped_here(network: Network, rule: str) -> None:
    a, b = network.host(), network.host()
    with_beacon(a, b)
    a.drop(rule)
    said = only(doctor(a), "inbound-dropped", "error")
    assert "a firewall of this machine" in said
    assert "nftables: table inet t, chain in" in said


def test_only_the_well_known_port_let_in_here(network: Network) -> None:
    a, b = network.host(), network.host()
    with_beacon(a, b)
    a.drop("iif eth0 udp dport != 26300")
    said = only(doctor(a), "no-answer", "error")
    assert b.ip() in said
    assert "of this machine, most likely" in said


def test_only_the_well_known_port_and_answers_to_ones_own_questions_let_in_here(network: Network) -> None:
    a, b = network.host(), network.host()
    with_beacon(a, b)
    a.drop("iif eth0 udp dport != 26300 ct state new")
    said = only(doctor(a), "not-reached", "error")
    assert b.ip() in said
    assert "nftables: table inet t, chain in" in said


def test_what_may_not_leave_this_machine(network: Network) -> None:
    a, b = network.host(), network.host()
    with_beacon(b)
    nft(
        a,
        "add table inet t; add chain inet t out { type filter hook output priority 0; }",
        "add rule inet t out ip daddr 224.0.0.0/4 drop",
    )
    said = only(doctor(a), "cannot-send", "error")
    assert "multicast out of eth0: Operation not permitted" in said


def test_the_port_taken_by_a_program_that_does_not_share_it(network: Network) -> None:
    a, b = network.host(), network.host()
    with_beacon(b)
    holder = subprocess.Popen(
        [*a.prefix, sys.executable, "-c", HOLDER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "bound\n"
        assert "26300 cannot be listened at: Address already in use" in only(doctor(a), "port-taken", "error")
    finally:
        holder.communicate()


def test_few_questions_are_enough(network: Network) -> None:
    """docs/doctor.md: 4 when all is well, 14 at most; more than 4 here when this machine is too busy to be in time."""
    a, b = network.host(), network.host()
    with_beacon(b)
    nft(
        a,
        "add table inet t; add chain inet t out { type filter hook output priority 0; }",
        "add rule inet t out oif eth0 meta l4proto udp counter",
    )
    assert codes(doctor(a)) == []
    counted = re.search(r"counter packets (\d+)", run(*a.prefix, "nft", "list", "ruleset"))
    assert counted is not None
    assert 4 <= int(counted[1]) <= 14, counted[0]


# --- a firewall there, or something on the way ---


@pytest.mark.parametrize("secret", ["", SECRET], ids=["open", "with a secret"])
def test_multicast_that_is_dropped_there(network: Network, secret: str) -> None:
    a, b, c = network.host(), network.host(), network.host()
    for host in (a, b, c):
        host.env["NWDISCO_SECRET"] = secret
    with_beacon(a, b, c)
    b.drop("ip daddr 224.0.0.0/4")
    assert f"from here to {b.ip()}:" in only(doctor(a), "multicast-lost", "warning")


def test_broadcast_that_is_dropped_there(network: Network) -> None:
    a, b, c = network.host(), network.host(), network.host()
    with_beacon(a, b, c)
    b.drop("ip daddr 10.77.0.255")
    assert f"on the way to {b.ip()}:" in only(doctor(a), "broadcast-lost", "warning")


def test_a_switch_that_drops_multicast(network: Network) -> None:
    a, b = network.host(), network.host()
    with_beacon(a, b)
    drop_on_the_way(network, "ip daddr 224.0.0.0/4")
    said = only(doctor(a), "multicast-lost", "warning")
    assert f"from here to {b.ip()} and to here from {b.ip()}" in said


def test_a_switch_that_drops_what_is_sent_to_everyone_keeps_all_apart(network: Network) -> None:
    a, b = network.host(), network.host()
    with_beacon(b)
    drop_on_the_way(network, "ip daddr { 224.0.0.0/4, 10.77.0.255 }")
    assert "something on the way" in only(doctor(a), "alone", "note")


def drop_on_the_way(network: Network, rule: str) -> None:
    switch = ("ip", "netns", "exec", network.switch, "nft")
    run(*switch, "add table bridge t; add chain bridge t on { type filter hook forward priority 0; }")
    run(*switch, f"add rule bridge t on {rule} drop")


@pytest.mark.parametrize("secret", ["", SECRET], ids=["open", "with a secret"])
def test_all_that_arrives_dropped_there(network: Network, secret: str) -> None:
    a, b, c = network.host(), network.host(), network.host()
    for host in (a, b, c):
        host.env["NWDISCO_SECRET"] = secret
    with_beacon(a, b, c)
    b.drop("meta l4proto udp")
    said = only(doctor(a), "no-answer", "error")
    assert f"{b.ip()} is heard and never answers: a firewall there drops" in said


def test_all_that_arrives_dropped_there_and_nobody_else_to_compare_with(network: Network) -> None:
    a, b = network.host(), network.host()
    with_beacon(a, b)
    b.drop("meta l4proto udp")
    assert "a firewall there or here drops" in only(doctor(a), "no-answer", "error")
