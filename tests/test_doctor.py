"""What the doctor takes in, the command, its page. Its judgement: tests/test_diagnosis.py; on hosts: test_doctor_hosts.py."""

from __future__ import annotations

import json
import os
import re
import socket
import threading
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nwdisco.core.diagnosis import Outsider, diagnose
from nwdisco.core.findings import KINDS
from nwdisco.core.wire import OTHER_ROOM
from nwdisco.doctor import Report, arp, look
from nwdisco.doctor.local_beacon import since
from nwdisco.doctor.machine import iptables_drops, nft_drops
from nwdisco.doctor.seen import MOST_ALONE, MOST_AT_ONE_IP
from nwdisco.settings import Settings
from tests.command import refusal
from tests.documents import Document
from tests.machines import DEADLINE_S, Machine
from tests.test_diagnosis import ETH0, LO, NEAR, STATE, WELL, WLAN0, near

DOCUMENT = Document("doctor.md")


# --- what it takes in ---


def test_the_question_by_arp_is_the_probe_of_rfc_5227() -> None:
    mac = bytes.fromhex("02aabbccddee")
    assert arp.question(mac, "10.77.0.1") == bytes.fromhex(
        "ffffffffffff 02aabbccddee 0806  0001 0800 06 04 0001  02aabbccddee 00000000  000000000000 0a4d0001"
    )
    assert arp.sender(arp.question(mac, "10.77.0.1")) is None, "a probe claims no address"


def test_an_answer_by_arp_says_who_has_the_address() -> None:
    answer = bytes.fromhex(
        "02aabbccddee 020000000007 0806  0001 0800 06 04 0002  020000000007 0a4d0001  02aabbccddee 00000000"
    )
    assert arp.sender(answer + bytes(18)) == ("02:00:00:00:00:07", "10.77.0.1")


@given(st.binary(max_size=80))
def test_whatever_comes_as_arp_raises_nothing(frame: bytes) -> None:
    arp.sender(frame)


def test_chains_that_drop_what_arrives_are_found_in_nftables_rules() -> None:
    rules = """table inet filter {
\tchain input {
\t\ttype filter hook input priority filter; policy drop;
\t\tiif "lo" accept
\t}

\tchain output {
\t\ttype filter hook output priority filter; policy accept;
\t\tip daddr 1.2.3.4 drop
\t}
}
table ip t {
\tchain in {
\t\ttype filter hook prerouting priority 0; policy accept;
\t\tudp dport 26300 reject
\t}

\tchain open {
\t\ttype filter hook input priority 0; policy accept;
\t}
}
"""
    assert nft_drops(rules) == (
        "nftables: table inet filter, chain input",
        "nftables: table ip t, chain in",
    )
    assert nft_drops("") == ()


def test_rules_that_drop_are_found_in_iptables_rules() -> None:
    rules = "-P INPUT DROP\n-A INPUT -i lo -j ACCEPT\n-A INPUT -p udp -j REJECT --reject-with icmp-port-unreachable\n"
    assert iptables_drops(rules) == (
        "iptables: -P INPUT DROP",
        "iptables: -A INPUT -p udp -j REJECT --reject-with icmp-port-unreachable",
    )
    assert iptables_drops("-P INPUT ACCEPT\n") == ()


# --- what came during the look alone ---


def test_what_the_beacon_left_unread_before_the_look_is_not_counted() -> None:
    assert since(STATE, None).unread == 0
    before = replace(STATE, over_rate=1000)
    assert since(before, before).unread == 0
    assert since(before, replace(before, over_rate=1007)) == replace(before, over_rate=1007, unread=7)
    assert since(before, replace(before, pid=STATE.pid + 1, over_rate=1007)).unread == 0, "another one, begun meanwhile"


@pytest.mark.parametrize(("over_rate", "unread"), [(1000, 0), (1007, 7)])
def test_the_beacon_is_asked_before_the_look_and_after_it(machine: Machine, over_rate: int, unread: int) -> None:
    machine.call("discover_all")
    status = machine.status()
    assert machine.command("stop").returncode == 0
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(machine.runtime_dir / "beacon.sock"))
        listening.listen()
        listening.settimeout(DEADLINE_S)

        def tell() -> None:
            for so_far in (1000, over_rate):
                connection, _ = listening.accept()
                with connection:
                    connection.recv(4096)
                    connection.sendall(json.dumps({**status, "lan": {"over_rate": so_far}}).encode() + b"\n")

        telling = threading.Thread(target=tell)
        telling.start()
        report = json.loads(machine.command("doctor", "--json").stdout)
        telling.join()
    assert report["facts"]["beacon"]["unread"] == unread
    floods = [one["what"] for one in report["findings"] if one["code"] == "flood"]
    assert [what.partition(" in ")[0] for what in floods] == ["the beacon left 7 datagrams unread"] * bool(unread)


# --- the command ---


def test_on_loopback_alone_it_says_so_and_makes_nothing(machine: Machine) -> None:
    done = machine.command("doctor")
    assert (done.returncode, done.stderr) == (1, "")
    assert "\nbeacon: none runs\n" in done.stdout
    assert "\nwarning loopback-only: " in done.stdout
    assert "\n  do: unset NWDISCO_INTERFACES" in done.stdout
    assert "what it sends comes back by multicast, broadcast, unicast" in done.stdout
    assert not machine.runtime_dir.exists()


def test_json_is_one_object_with_facts_and_findings_and_without_the_secret(machine: Machine) -> None:
    machine.env |= {"NWDISCO_SECRET": "a secret not to be told", "NWDISCO_ROOM": "3b"}
    machine.call("discover_all")
    pid = machine.beacon_pid()
    done = machine.command("doctor", "--json")
    assert (done.returncode, done.stderr) == (1, "")
    (line,) = done.stdout.splitlines()
    report = json.loads(line)
    assert report.keys() == {"verdict", "findings", "facts"}
    assert report["verdict"] == "warning"
    assert [one.keys() for one in report["findings"]] == [{"code", "severity", "what", "todo"}]
    facts = report["facts"]
    assert (facts["room"], facts["has_secret"], facts["beacon"]["pid"]) == ("3b", True, pid)
    assert "not to be told" not in done.stdout


def test_a_beacon_with_other_settings_than_those_of_here_is_named(machine: Machine) -> None:
    machine.call("discover_all")
    port = machine.status()["port"]
    machine.env["NWDISCO_SECRET"] = "a secret of today"
    done = machine.command("doctor")
    assert "warning beacon-differs: " in done.stdout
    assert "has_secret is no there, yes here" in done.stdout
    machine.env["NWDISCO_PORT"] = str(port - 1)
    assert f"port is {port} there, {port - 1} here" in machine.command("doctor").stdout


def test_a_beacon_that_refuses_to_tell_is_a_finding(machine: Machine) -> None:
    machine.runtime_dir.mkdir(mode=0o700)
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(machine.runtime_dir / "beacon.sock"))
        listening.listen()

        def refuse() -> None:
            connection, _ = listening.accept()
            with connection:
                connection.recv(4096)
                connection.sendall(b'{"error": "version", "message": "it is from another time"}\n')

        refusing = threading.Thread(target=refuse)
        refusing.start()
        done = machine.command("doctor")
        refusing.join()
    assert done.returncode == 1
    assert "error beacon-trouble: " in done.stdout
    assert "it is from another time" in done.stdout


def test_a_beacon_s_directory_that_others_can_enter_is_a_finding(machine: Machine) -> None:
    machine.runtime_dir.mkdir()
    os.chmod(machine.runtime_dir, 0o777)
    done = machine.command("doctor")
    assert done.returncode == 1
    assert "is open to other users" in done.stdout


@pytest.mark.parametrize(("args", "env"), [(("x",), {}), (("--wait", "3"), {}), ((), {"NWDISCO_PORT": "none"})])
def test_used_wrongly_is_exit_status_2(machine: Machine, args: tuple[str, ...], env: dict[str, str]) -> None:
    machine.env |= env
    done = machine.command("doctor", *args)
    assert (done.returncode, done.stdout) == (2, "")
    if env:
        assert "NWDISCO_PORT" in refusal(done)


def test_without_sockets_to_look_with_it_is_exit_status_2(machine: Machine) -> None:
    machine.prefix = ("sh", "-c", 'ulimit -n 6; exec "$@"', "sh")
    assert "the doctor cannot look: Too many open files" in refusal(machine.command("doctor"))


# --- docs/doctor.md ---


def test_the_page_has_the_table_of_the_findings() -> None:
    rows = re.findall(r"^\| `([a-z-]+)` \| ([a-z, ]+) \| (.*) \| (.*) \|$", DOCUMENT.text, re.MULTILINE)
    assert rows == [(code, ", or ".join(kind.severities), kind.what, kind.todo) for code, kind in KINDS.items()]
    assert DOCUMENT.broken_links() == set()


def test_the_page_s_figures_are_those_of_the_code() -> None:
    everyone = len(look.ASK_AT_S), len(look.ASK_AT_S + look.ASK_AGAIN_AT_S)
    assert f"looks for {look.LOOK_S:.0f} s, for {look.LOOK_LIMIT_S:.0f} s while" in DOCUMENT.text
    assert f"{2 * everyone[0]} times on each interface, {2 * everyone[1]} times at most" in DOCUMENT.text
    assert f"at most {len(look.ASK_ALONE_AT_S)} times" in DOCUMENT.text
    assert f"{MOST_ALONE} nodes at a time, {MOST_AT_ONE_IP} of one IP" in DOCUMENT.text
    assert f"{look.MOST_BY_ARP} of the others" in DOCUMENT.text
    assert f"{len(look.ARP_OWN_AT_S)} ARP probes" in DOCUMENT.text
    asker = look.Asker(look._wires(Settings.from_environment({}))())
    try:
        assert f"({len(asker.question(70))} bytes" in DOCUMENT.text
    finally:
        asker.end.close()
    sealed = look.Asker(look._wires(Settings.from_environment({"NWDISCO_SECRET": "a secret"}))())
    try:
        assert f"{len(sealed.question(70))} with a secret" in DOCUMENT.text
    finally:
        sealed.end.close()


def test_the_page_s_sample_is_what_the_doctor_says() -> None:
    facts = replace(
        WELL,
        interfaces=(replace(LO, used=False), ETH0, replace(WLAN0, used=False, ip="", up=False)),
        beacon=replace(STATE, pid=4711),
        neighbours=(NEAR, *near(("multicast",), (), "10.0.0.3")),
        outsiders=(Outsider(OTHER_ROOM, "10.0.0.4"),),
    )
    (sample,) = DOCUMENT.of_kind("output")
    assert sample.text == "\n".join(["$ nwdisco doctor", *Report(facts, diagnose(facts)).lines()])
