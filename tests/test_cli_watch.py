"""`nwdisco watch`: each event is a line, printed at once, until its time is over or nobody listens any more."""

from __future__ import annotations

import json
import os
import signal

from tests.command import Running
from tests.machines import DEADLINE_S, Machine


def test_watch_prints_each_line_at_once(machine: Machine) -> None:
    program = machine.program()
    program.call("advertise", "printer/a", ":1")
    watching = Running(machine, "watch")
    assert watching.line().split() == ["joined", "printer/a", "127.0.0.1:1"]
    program.call("advertise", "printer/a", ":2")
    assert watching.line().split() == ["changed", "printer/a", "127.0.0.1:2"]
    program.call("unadvertise", "printer/a")
    assert watching.line().split() == ["left", "printer/a", "127.0.0.1:2"]
    assert watching.end(signal.SIGINT) == 130
    assert watching.errors() == ""


def test_watch_of_a_group_in_json(machine: Machine) -> None:
    program = machine.program()
    program.call("discover_all")
    watching = Running(machine, "watch", "printer", "--json")
    program.call("advertise", "other", ":1")
    program.call("advertise", "printer/a", ":2", properties={"dpi": "600"})
    event = json.loads(watching.line())
    assert event.keys() == {"event", "name", "address", "properties", "node", "age_s"}
    assert (event["event"], event["name"], event["properties"]) == ("joined", "printer/a", {"dpi": "600"})


def test_watch_ends_after_its_time(machine: Machine) -> None:
    machine.program().call("advertise", "printer/a", ":1")
    done = machine.command("watch", "--wait", "0")
    assert done.returncode == 0
    assert done.stdout.split() == ["joined", "printer/a", "127.0.0.1:1"]


def test_watch_goes_on_when_the_beacon_is_killed(machine: Machine) -> None:
    program = machine.program()
    program.call("advertise", "printer/a", ":1")
    watching = Running(machine, "watch")
    assert watching.line().split()[:2] == ["joined", "printer/a"]
    os.kill(machine.beacon_pid(), signal.SIGKILL)
    program.call("advertise", "printer/b", ":2")
    assert watching.line().split()[:2] == ["joined", "printer/b"]


def test_watch_into_a_pipe_that_closes_ends_without_a_traceback(machine: Machine) -> None:
    program = machine.program()
    program.call("advertise", "printer/a", ":1")
    watching = Running(machine, "watch")
    watching.line()
    assert watching.process.stdout is not None
    watching.process.stdout.close()
    program.call("advertise", "printer/b", ":2")
    watching.process.wait(DEADLINE_S)
    assert "Traceback" not in watching.errors()
