"""The doctor's judgement: what each network is found to have, from facts alone. Real ailments: tests/test_doctor_hosts.py."""

from __future__ import annotations

import json
import re
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nwdisco.core.diagnosis import (
    STRANGE,
    BeaconState,
    Double,
    Facts,
    Interface,
    Neighbour,
    Outsider,
    diagnose,
)
from nwdisco.core.findings import KINDS, Severity, verdict
from nwdisco.core.lan import BIG_ROOM_NODES
from nwdisco.core.wire import OTHER_ROOM
from nwdisco.doctor import Report

ALL = ("multicast", "broadcast", "unicast")
EVERYONE = ("multicast", "broadcast")
LO = Interface("lo", "127.0.0.1", "127.0.0.0/8", "127.255.255.255", loopback=True, came_back=ALL)
ETH0 = Interface("eth0", "10.0.0.1", "10.0.0.0/24", "10.0.0.255", used=True, came_back=ALL)
WLAN0 = Interface("wlan0", "10.0.1.1", "10.0.1.0/24", "10.0.1.255", used=True, came_back=ALL)
NEAR = Neighbour(("10.0.0.2",), ("multicast",), EVERYONE)
WELL = Facts(26300, "239.255.26.30", interfaces=(LO, ETH0), neighbours=(NEAR,), looked_s=3.0)
STATE = BeaconState(7, "0.1.0")


def eth0(**other: object) -> tuple[Interface, ...]:
    """The interfaces, eth0 with something changed."""
    return LO, replace(ETH0, **other)  # type: ignore[arg-type]


def near(heard: tuple[str, ...], answered: tuple[str, ...], ip: str = "10.0.0.2") -> tuple[Neighbour, ...]:
    return (Neighbour((ip,), heard, answered),)


AILMENTS = {
    "no-network": replace(WELL, interfaces=(replace(LO, used=True),), neighbours=()),
    "switched-off": replace(WELL, interfaces=eth0(up=False, link=False), neighbours=()),
    "no-link": replace(WELL, interfaces=eth0(link=False), neighbours=()),
    "no-address": replace(WELL, interfaces=eth0(ip="", network="", broadcast=None, used=False), neighbours=()),
    "no-such-interface": replace(WELL, named=("eth0", "eht1")),
    "loopback-only": replace(WELL, named=("lo",), interfaces=(replace(LO, used=True), replace(ETH0, used=False))),
    "port-taken": replace(WELL, port_refused="Address already in use", interfaces=eth0(came_back=("unicast",))),
    "beacon-trouble": replace(WELL, beacon_trouble="it said no"),
    "beacon-differs": replace(WELL, beacon=replace(STATE, differs=(("port", "26300", "26301"),))),
    "beacon-could-not-send": replace(WELL, beacon=replace(STATE, send_failed=3)),
    "flood": replace(WELL, beacon=replace(STATE, over_rate=1000, unread=1000)),
    "cannot-send": replace(WELL, interfaces=eth0(came_back=("broadcast", "unicast"), refused=(("multicast", "no"),))),
    "inbound-dropped": replace(WELL, interfaces=eth0(came_back=("unicast",)), neighbours=()),
    "multicast-dropped-here": replace(WELL, interfaces=eth0(came_back=("broadcast", "unicast"))),
    "broadcast-dropped-here": replace(WELL, interfaces=eth0(came_back=("multicast", "unicast"))),
    "unicast-dropped-here": replace(WELL, interfaces=eth0(came_back=EVERYONE)),
    "multicast-lost": replace(WELL, neighbours=near(("multicast",), ("broadcast",))),
    "broadcast-lost": replace(WELL, neighbours=near(("multicast",), ("multicast",))),
    "not-reached": replace(WELL, neighbours=near(("multicast",), ("unicast",))),
    "no-answer": replace(WELL, neighbours=near(("multicast",), ())),
    "other-network": replace(WELL, neighbours=near(("multicast",), (), "10.9.0.2")),
    "alone": replace(WELL, neighbours=()),
    "same-address": replace(WELL, doubles=(Double("10.0.0.1", ("02:00:00:00:00:01",), True),)),
    "same-address-elsewhere": replace(WELL, doubles=(Double("10.0.0.2", ("02:00:00:00:00:01", "02:00:00:00:00:02"), False),)),
    **{code: replace(WELL, neighbours=(), outsiders=(Outsider(reason, "10.0.0.3"),)) for reason, code in STRANGE.items()},
}  # fmt: skip
"""For each finding, a network where it is the only thing wrong (but for the note that nobody is there)."""


def codes(facts: Facts) -> list[str]:
    return [finding.code for finding in diagnose(facts)]


# --- findings ---


def test_a_network_that_is_well_has_no_findings_and_its_verdict_is_ok() -> None:
    assert diagnose(WELL) == ()
    assert verdict(()) == "ok"
    assert Report(WELL, ()).exit_status == 0
    assert Report(WELL, ()).lines()[-1] == "nothing is wrong"


def test_there_is_an_ailment_for_each_kind_of_finding() -> None:
    assert AILMENTS.keys() == KINDS.keys()


@pytest.mark.parametrize("code", AILMENTS)
def test_each_ailment_is_named_and_nothing_else_is(code: str) -> None:
    findings = diagnose(AILMENTS[code])
    assert {finding.code for finding in findings} - {"alone"} <= {code}, findings
    found = next(finding for finding in findings if finding.code == code)
    assert found.severity == KINDS[code].severities[0]
    assert not re.search("[{}]", found.what + found.todo)


@pytest.mark.parametrize("code", AILMENTS)
def test_the_exit_status_is_1_for_what_is_to_be_mended(code: str) -> None:
    report = Report(AILMENTS[code], diagnose(AILMENTS[code]))
    assert report.exit_status == (report.verdict in ("warning", "error"))


def test_the_worst_comes_first() -> None:
    facts = replace(WELL, beacon=replace(STATE, send_failed=3, unread=1), interfaces=eth0(came_back=("unicast",)))
    assert codes(facts) == ["inbound-dropped", "flood", "beacon-could-not-send"]


def test_a_flood_that_is_over_is_no_finding() -> None:
    """A beacon counts from its start, which may be weeks ago."""
    assert codes(replace(WELL, beacon=replace(STATE, over_rate=1000))) == []


def test_an_interface_that_is_out_is_only_a_note_while_another_one_serves() -> None:
    for broken, code in (
        (replace(ETH0, link=False), "no-link"),
        (replace(ETH0, up=False, link=False), "switched-off"),
        (Interface("eth0"), "no-address"),
    ):
        facts = replace(WELL, interfaces=(LO, WLAN0, broken), neighbours=near(("multicast",), EVERYONE, "10.0.1.2"))
        assert [(one.code, one.severity) for one in diagnose(facts)] == [(code, "note")]
    unused = Interface("tunl0", up=False, link=False)
    assert codes(replace(WELL, interfaces=(LO, ETH0, unused))) == [], "most machines have some that are meant to be off"


def test_an_interface_that_is_not_named_is_not_judged() -> None:
    assert codes(replace(WELL, named=("eth0",), interfaces=(LO, ETH0, Interface("wlan0")))) == []


def test_nobody_on_an_interface_that_is_not_used_is_judged() -> None:
    facts = replace(WELL, interfaces=(LO, ETH0, replace(WLAN0, used=False)))
    assert codes(replace(facts, neighbours=(NEAR, *near(("broadcast",), (), "10.0.1.2")))) == []


def test_two_interfaces_on_one_network_share_their_broadcasts() -> None:
    second = replace(ETH0, name="wlan0", ip="10.0.0.9", came_back=("multicast", "unicast"))
    assert codes(replace(WELL, interfaces=(LO, ETH0, second))) == []


def test_without_a_broadcast_address_none_is_missed() -> None:
    tunnel = replace(ETH0, broadcast=None, came_back=("multicast", "unicast"))
    facts = replace(WELL, interfaces=(LO, tunnel), neighbours=near(("multicast",), ("multicast",)))
    assert codes(facts) == []


def test_who_never_answers_while_others_do_has_the_firewall_on_his_side() -> None:
    silent = near(("multicast",), (), "10.0.0.3")
    for others, hint, says in (
        ((NEAR,), (), "a firewall there drops"),
        ((NEAR,), ("nftables: a chain",), "a firewall there drops"),
        ((), (), "a firewall there or here drops"),
        ((), ("nftables: a chain",), "a firewall of this machine, most likely, drops"),
    ):
        (found,) = diagnose(replace(WELL, neighbours=(*others, *silent), firewall=hint))
        assert says in found.what
        assert ("nftables" in found.what) == ("this machine" in found.what)


def test_a_firewall_found_here_explains_why_others_do_not_answer() -> None:
    facts = replace(WELL, interfaces=eth0(came_back=("unicast",)))
    for answered in ((), ("unicast",)):
        assert codes(replace(facts, neighbours=near((), answered))) == ["inbound-dropped"]


def test_in_a_big_room_nobody_is_blamed_for_not_answering() -> None:
    for answered, code in (((), "no-answer"), (("unicast",), "not-reached")):
        many = tuple(
            Neighbour((f"10.0.0.{number}",), ("multicast",), answered) for number in range(2, 2 + BIG_ROOM_NODES)
        )
        assert codes(replace(WELL, neighbours=many)) == []
        assert codes(replace(WELL, neighbours=many[1:])) == [code]


def test_a_node_that_the_beacon_knows_and_nobody_hears_may_have_gone() -> None:
    assert codes(replace(WELL, neighbours=(Neighbour(("10.0.0.2",)),))) == []


def test_another_room_is_a_note_to_who_has_found_his_own() -> None:
    other = (Outsider(OTHER_ROOM, "10.0.0.3"),)
    assert [one.severity for one in diagnose(replace(WELL, outsiders=other))] == ["note"]
    assert [one.severity for one in diagnose(replace(WELL, outsiders=other, neighbours=()))] == ["warning"]


def test_who_is_on_this_machine_is_said_to_be() -> None:
    (found,) = diagnose(replace(WELL, outsiders=(Outsider(OTHER_ROOM, "10.0.0.1"),)))
    assert found.what.startswith("10.0.0.1 (this machine) is in another room")


def test_a_list_is_cut_where_nobody_reads_on() -> None:
    outsiders = tuple(Outsider(OTHER_ROOM, f"10.0.0.{number}") for number in range(20))
    (found,) = diagnose(replace(WELL, outsiders=outsiders))
    assert "10.0.0.7 and 12 more is" in found.what


ips = st.sampled_from(["10.0.0.1", "10.0.0.2", "10.0.1.7", "192.168.1.1"])
ways = st.lists(st.sampled_from(ALL), unique=True).map(tuple)
some_interfaces = st.builds(
    Interface,
    st.sampled_from(["lo", "eth0", "wlan0"]),
    ips | st.just(""),
    st.sampled_from(["", "10.0.0.0/24", "10.0.1.0/24"]),
    st.none() | st.just("10.0.0.255"),
    *[st.booleans()] * 4,
    ways,
    ways.map(lambda some: tuple((way, "no") for way in some)),
)


@given(
    st.builds(
        Facts,
        port=st.just(26300),
        group=st.just("239.255.26.30"),
        named=st.lists(st.sampled_from(["eth0", "eht0", "lo"])).map(tuple),
        interfaces=st.lists(some_interfaces, max_size=4).map(tuple),
        port_refused=st.sampled_from(["", "it is taken"]),
        beacon=st.none() | st.builds(BeaconState, st.just(1), st.just("0.1.0"), st.just(()), st.integers(0, 2)),
        neighbours=st.lists(
            st.builds(Neighbour, st.lists(ips, min_size=1, unique=True).map(tuple), ways, ways), max_size=4
        ).map(tuple),
        outsiders=st.lists(st.builds(Outsider, st.sampled_from(list(STRANGE)), ips), max_size=4).map(tuple),
        doubles=st.lists(st.builds(Double, ips, st.just(("x",)), st.booleans()), max_size=2).map(tuple),
        tells_ways=st.booleans(),
    )
)
def test_whatever_the_facts_are_the_findings_are_of_the_table_and_can_be_said(facts: Facts) -> None:
    report = Report(facts, diagnose(facts))
    for finding in report.findings:
        assert finding.severity in KINDS[finding.code].severities
        assert not re.search("[{}]", finding.what + finding.todo)
    order = [list(Severity).index(finding.severity) for finding in report.findings]
    assert order == sorted(order, reverse=True)
    assert report.lines()
    assert json.loads(report.as_json())["verdict"] == report.verdict
