"""Leases at the edge of their time, in a real beacon."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator

import pytest

from nwdisco import config
from tests.machines import Machine, wait_until
from tests.shim import Shim, timed

LEASE_S, GRACE_S = config.SHIM_HEARTBEAT_S, config.SHIM_GRACE_S


@pytest.fixture
def shim(machine: Machine) -> Iterator[Shim]:
    shim = Shim(machine)
    yield shim
    shim.end()


def until(moment: float) -> None:
    time.sleep(max(0.0, moment - time.monotonic()))


def test_who_asks_for_its_own_type_before_it_heartbeats_still_comes_in_time(shim: Shim) -> None:
    uuid, begun, registered = timed(lambda: shim.register("hive", "10.0.0.1", 80))
    until(registered + LEASE_S + 0.02)
    found, _, answered = timed(lambda: shim.query("hive"))
    assert found == []
    if answered - begun < LEASE_S + GRACE_S - 0.05:  # this machine was fast enough for what is to be shown
        assert shim.heartbeat(uuid) == "OK"
        assert shim.query("hive") == [("10.0.0.1", 80)]


def test_a_heartbeat_that_came_in_time_counts_though_the_beacon_was_held_up(shim: Shim) -> None:
    with shim.wire() as lines:
        uuid, begun, registered = timed(
            lambda: lines.ask(action="register", type="hive", ip="10.0.0.1", port=80)["uuid"]
        )
        watcher = shim.machine.program()
        watcher.call("watch", "hive")
        assert watcher.call("next_event")[0] == "joined"
        until(begun + LEASE_S)
        os.kill(shim.pid, signal.SIGSTOP)
        try:
            lines.say(action="heartbeat", uuid=uuid)
            until(registered + LEASE_S + GRACE_S + 0.2)
        finally:
            os.kill(shim.pid, signal.SIGCONT)
        assert lines.line() == {"ok": True}
        assert shim.query("hive") == [("10.0.0.1", 80)]
        lines.register("hive/last", "10.0.0.1:81")
        assert watcher.call("next_event")[:2] == ["joined", "hive/last"], "nothing was said to have left meanwhile"


def test_with_few_files_left_programs_are_served_and_clients_past_them_are_refused(machine: Machine) -> None:
    plain = machine.prefix
    machine.prefix = (*plain, "prlimit", "--nofile=256:256")
    shim = Shim(machine)
    machine.prefix = plain
    wires = [shim.wire() for _ in range(200)]
    try:
        answers = []
        for wire in wires:
            wire.end.settimeout(10)
            wire.say(type="query", key="all")
        for wire in wires:
            try:
                answers.append(wire.line())
            except ConnectionError:  # closed without a word: past the waiting room
                answers.append(None)
        assert answers[0] == {"ok": True, "services": []}
        assert any(answer and answer.get("error") == "over_limit" for answer in answers)
        assert machine.call("advertise", "a", "10.0.0.1:80") == "10.0.0.1:80"
    finally:
        for wire in wires:
            wire.close()
    wait_until(lambda: shim.status()["connections"] == 0, "the end of the clients")
    with shim.wire() as wire:
        assert wire.names() == ["a"] or wire.names() == []
    shim.end()
