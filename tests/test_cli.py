"""The `nwdisco` command, as people and scripts run it: real processes, their output and their exit status."""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import subprocess
import sys
import time
from typing import Any

import pytest

from nwdisco import config
from tests.machines import DEADLINE_S, Machine, alive, wait_until


class Running:
    """A command that runs on, and its output line by line."""

    def __init__(self, machine: Machine, *args: str) -> None:
        self.process = machine.start(*args)
        assert self.process.stdout is not None
        self._out = self.process.stdout.fileno()
        self._unread = b""

    def line(self) -> str:
        """The next line, as soon as the command has printed it."""
        deadline = time.monotonic() + DEADLINE_S
        while b"\n" not in self._unread:
            ready, _, _ = select.select([self._out], [], [], max(0.0, deadline - time.monotonic()))
            assert ready, f"no line within {DEADLINE_S} s, only {self._unread!r}"
            part = os.read(self._out, 65_536)
            assert part, (
                f"the command ended with status {self.process.wait(DEADLINE_S)}, its output with {self._unread!r}"
            )
            self._unread += part
        line, _, self._unread = self._unread.partition(b"\n")
        return line.decode()

    def end(self, number: int) -> int:
        """Send a signal; the exit status."""
        self.process.send_signal(number)
        return self.process.wait(DEADLINE_S)

    def errors(self) -> str:
        assert self.process.stderr is not None
        return self.process.stderr.read()


def objects(text: str) -> list[dict[str, Any]]:
    """What `--json` printed: an object a line."""
    found = [json.loads(line) for line in text.splitlines()]
    assert all(isinstance(one, dict) for one in found)
    return found


def refusal(done: subprocess.CompletedProcess[str]) -> str:
    """The one line on standard error of a command that refused to do anything."""
    assert done.returncode == 2, done
    assert done.stdout == ""
    lines = done.stderr.splitlines()
    assert len(lines) == 1, f"more than a line: {done.stderr}"
    assert lines[0].startswith("nwdisco: ")
    return lines[0]


# --- advertise ---


def test_advertise_prints_the_address_at_once_and_others_find_it(machine: Machine) -> None:
    running = Running(machine, "advertise", "printer/a")
    address = running.line()
    assert address.startswith("127.0.0.1:")
    assert machine.command("discover", "printer/a").stdout == address + "\n"


def test_advertise_takes_an_address_properties_and_a_time_to_live(machine: Machine) -> None:
    running = Running(
        machine, "advertise", "printer/a", ":8080", "-p", "dpi=600", "-p", "a=b=c", "--ttl", "60", "--json"
    )
    assert json.loads(running.line()) == {"name": "printer/a", "address": "127.0.0.1:8080"}
    (service,) = objects(machine.command("list", "--json").stdout)
    assert service.keys() == {"name", "address", "properties", "node", "age_s"}
    assert (service["name"], service["address"]) == ("printer/a", "127.0.0.1:8080")
    assert service["properties"] == {"dpi": "600", "a": "b=c"}
    assert 0 <= service["age_s"] < DEADLINE_S


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_advert_is_withdrawn_by_the_time_that_a_signal_has_ended_the_command(machine: Machine, number: int) -> None:
    watcher = machine.program()
    running = Running(machine, "advertise", "printer/a")
    address = running.line()
    assert watcher.call("discover", "printer/a", 0) == address
    assert running.end(number) == 0
    assert watcher.call("discover", "printer/a", 0) is None
    assert running.errors() == ""


def test_an_advert_is_gone_when_the_command_is_killed(machine: Machine) -> None:
    watcher = machine.program()
    watcher.call("watch")
    running = Running(machine, "advertise", "printer/a")
    running.line()
    assert watcher.call("next_event")[0] == "joined"
    running.end(signal.SIGKILL)
    assert watcher.call("next_event")[0] == "left"


def test_a_name_that_is_taken_can_be_refused(machine: Machine) -> None:
    first = Running(machine, "advertise", "printer/a", ":8080")
    first.line()
    said = refusal(machine.command("advertise", "printer/a", ":9090", "--fail-if-exists"))
    assert "'printer/a'" in said
    assert "127.0.0.1:8080" in said
    assert machine.command("discover", "printer/a").stdout == "127.0.0.1:8080\n"


# --- discover ---


def test_discover_waits_for_who_comes_later(machine: Machine) -> None:
    machine.call("discover_all")
    waiting = Running(machine, "discover", "printer/a", "--json")
    wait_until(
        lambda: machine.status()["programs"] == 2, "the waiting command, beside the one that asks for the status"
    )
    running = Running(machine, "advertise", "printer/a", ":8080")
    assert json.loads(waiting.line()) == {"name": "printer/a", "address": "127.0.0.1:8080"}
    assert waiting.process.wait(DEADLINE_S) == 0
    assert running.line() == "127.0.0.1:8080"


def test_discover_of_nobody_is_status_1(machine: Machine) -> None:
    done = machine.command("discover", "nobody", "--wait", "0")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "nwdisco: nobody advertises 'nobody'\n"
    done = machine.command("discover", "nobody", "--wait", "0.1", "--json")
    assert (done.returncode, done.stdout, done.stderr) == (1, "", "")


# --- list ---


def test_list_shows_all_or_a_group_and_is_status_1_when_there_is_nothing(machine: Machine) -> None:
    for args in ((), ("--json",), ("printer",)):
        done = machine.command("list", *args)
        assert (done.returncode, done.stdout, done.stderr) == (1, "", "")
    program = machine.program()
    program.call("advertise", "printer/b", ":2", properties={"dpi": "600"})
    program.call("advertise", "printer/a", ":1")
    program.call("advertise", "chat:me", ":3")
    assert [s["name"] for s in objects(machine.command("list", "--json").stdout)] == [
        "chat:me",
        "printer/a",
        "printer/b",
    ]
    assert [s["name"] for s in objects(machine.command("list", "printer", "--json").stdout)] == [
        "printer/a",
        "printer/b",
    ]
    assert [s["name"] for s in objects(machine.command("list", "chat", "--separator", ":", "--json").stdout)] == [
        "chat:me"
    ]
    table = machine.command("list")
    assert table.returncode == 0
    header, *rows = table.stdout.splitlines()
    assert header.split() == ["name", "address", "properties", "node", "age"]
    assert [row.split()[:2] for row in rows] == [
        ["chat:me", "127.0.0.1:3"],
        ["printer/a", "127.0.0.1:1"],
        ["printer/b", "127.0.0.1:2"],
    ]
    assert "dpi=600" in rows[2]
    assert machine.command("list", "nobody").returncode == 1


def test_list_shows_whatever_was_advertised_whole_and_cannot_be_used_against_the_terminal(machine: Machine) -> None:
    long_name = "long/" + "n" * 200
    program = machine.program()
    program.call("advertise", long_name, ":1", properties={"text": "v" * 200})
    program.call(
        "advertise", "[red]x[/red]", ":2", properties={"title": "\x1b]0;owned\x07", "lines": "1\n2", "del": "\x7f"}
    )
    table = machine.command("list").stdout
    assert long_name in table
    assert "v" * 200 in table
    assert "[red]x[/red]" in table
    assert all(char.isprintable() or char == "\n" for char in table)
    assert len(table.splitlines()) == 3
    last = objects(machine.command("list", "--json").stdout)[0]
    assert last["properties"] == {"title": "\x1b]0;owned\x07", "lines": "1\n2", "del": "\x7f"}


# --- watch ---


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


# --- status, stop, beacon ---


def test_status_and_stop_are_status_1_without_a_beacon_and_start_none(machine: Machine) -> None:
    for args in (("status",), ("status", "--json"), ("stop",)):
        done = machine.command(*args)
        assert (done.returncode, done.stdout) == (1, "")
        assert done.stderr == "nwdisco: no beacon is running\n"
    assert not (machine.runtime_dir / "beacon.sock").exists()


def test_status_shows_the_beacon(machine: Machine) -> None:
    program = machine.program()
    program.call("advertise", "printer/a", ":1")
    (status,) = objects(machine.command("status", "--json").stdout)
    assert alive(status["pid"])
    assert status["version"] == config.VERSION
    assert status["socket"] == str(machine.runtime_dir / "beacon.sock")
    assert status["port"] == int(machine.env["NWDISCO_PORT"])
    assert [interface["name"] for interface in status["interfaces"]] == ["lo"]
    assert (status["adverts"], status["own_adverts"], status["nodes"]) == (1, 1, [])
    shown = machine.command("status").stdout
    for line in (
        f"pid: {status['pid']}",
        f"node: {status['node']}",
        "adverts: 1",
        "nodes: 0",
        "interfaces: lo 127.0.0.1",
    ):
        assert line in shown.splitlines()


def test_status_shows_the_other_nodes(machine: Machine) -> None:
    other = Machine(
        machine.runtime_dir.with_name("other"), **{k: v for k, v in machine.env.items() if k.startswith("NWD")}
    )
    other.env["NWDISCO_RUNTIME_DIR"] = str(other.runtime_dir)
    try:
        other.program().call("advertise", "printer/a", ":1")
        assert machine.call("discover", "printer/a") == "127.0.0.1:1"
        (node,) = machine.status()["nodes"]
        assert node["node"] == other.status()["node"]
        assert node["adverts"] == 1
        assert f"  {node['node']} at {node['address']}: 1 adverts, heard " in machine.command("status").stdout
    finally:
        other.close()


def test_status_counts_malformed_messages_of_programs_and_of_the_network(machine: Machine) -> None:
    beacon = Running(machine, "beacon")
    wait_until((machine.runtime_dir / "beacon.sock").exists, "the beacon's socket")
    for sent in (b"garbage\n", b"nwdisco-control 1\nno JSON\n"):
        with socket.socket(socket.AF_UNIX) as end:
            end.settimeout(DEADLINE_S)
            end.connect(str(machine.runtime_dir / "beacon.sock"))
            end.sendall(sent)
            assert b"bad_request" in end.recv(4096)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as end:
        end.sendto(b'nw1["beat",7]', ("127.0.0.1", int(machine.env["NWDISCO_PORT"])))
    assert machine.status()["control"] == {"malformed": 2}
    wait_until(lambda: machine.status()["lan"].get("malformed") == 1, "the malformed datagram")
    shown = machine.command("status").stdout
    assert "control: 2 malformed\n" in shown
    assert "1 malformed" in next(line for line in shown.splitlines() if line.startswith("lan: "))
    assert beacon.end(signal.SIGTERM) == 0


def test_stop_ends_the_beacon(machine: Machine) -> None:
    machine.call("discover_all")
    pid = machine.beacon_pid()
    done = machine.command("stop")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    wait_until(lambda: not alive(pid), "the beacon's end")
    assert not (machine.runtime_dir / "beacon.sock").exists()
    assert machine.command("stop").returncode == 1


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_beacon_in_the_foreground_serves_and_ends_with_a_signal(machine: Machine, number: int) -> None:
    beacon = Running(machine, "beacon")
    wait_until((machine.runtime_dir / "beacon.sock").exists, "the beacon's socket")
    assert machine.beacon_pid() == beacon.process.pid
    program = machine.program()
    program.call("advertise", "printer/a", ":1")
    program.close()
    assert beacon.end(number) == 0
    assert "Traceback" not in beacon.errors()
    assert not (machine.runtime_dir / "beacon.sock").exists()


def test_a_second_beacon_is_refused_with_the_first_ones_process_id(machine: Machine) -> None:
    machine.call("discover", "nobody", 0)
    pid = machine.beacon_pid()
    assert str(pid) in refusal(machine.command("beacon"))
    assert machine.beacon_pid() == pid


# --- demo ---


def test_the_demo_shows_services_that_join_and_leave_and_leaves_nothing_running(machine: Machine) -> None:
    done = machine.command("demo")
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    for event in (
        "joined printer/a at 127.0.0.1:",
        "joined printer/b at 127.0.0.1:",
        "left printer/a",
        "left printer/b",
    ):
        assert f"B: {event}" in done.stdout
    assert done.stdout.rstrip().endswith("[]")
    assert not machine.runtime_dir.exists(), "it used the user's own beacon"


# --- what cannot be done ---


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (("advertise", ""), "the name is empty"),
        (("advertise", "n" * 256), "over 255 bytes"),
        (("advertise", "a\nb"), "control character"),
        (("advertise", "a\x1b[2Jb"), "control character"),
        (("advertise", "\udcff"), "UTF-8"),
        (("advertise", "x", ":0"), "from 1 to 65535"),
        (("advertise", "x", "65536"), "from 1 to 65535"),
        (("advertise", "--", "x", "-1"), "from 1 to 65535"),
        (("advertise", "x", "1.2.3.4:http"), "is no number"),
        (("advertise", "x", "256.1.1.1"), "no IPv4 address"),
        (("advertise", "x", "fe80::1"), "IPv6"),
        (("advertise", "x", "1.2.3.*"), "no address like 1.2.3.*"),
        (("advertise", "x", "--ttl", "0.5"), "ttl_s is 0.5"),
        (("advertise", "x", "--ttl", "-1"), "ttl_s is -1"),
        (("advertise", "x", "--ttl", "nan"), "ttl_s is nan"),
        (("advertise", "x", "-p", "=v"), "empty name"),
        (("advertise", "x", "-p", "k=" + "v" * 700), "700 is the most"),
        (("discover", ""), "the name is empty"),
        (("discover", "x", "--wait", "-1"), "0 or more seconds"),
        (("discover", "x", "--wait", "nan"), "0 or more seconds"),
        (("list", ""), "the group is empty"),
        (("list", "g", "--separator", ""), "the separator is empty"),
        (("watch", "a\nb"), "control character"),
        (("watch", "--wait", "-1"), "0 or more seconds"),
    ],
    ids=lambda value: (
        " ".join(value).encode("ascii", "backslashreplace").decode()[:40] if isinstance(value, tuple) else ""
    ),
)
def test_bad_input_is_one_line_that_says_why_and_starts_no_beacon(
    machine: Machine, args: tuple[str, ...], says: str
) -> None:
    assert says in refusal(machine.command(*args))
    assert not machine.runtime_dir.exists()


@pytest.mark.parametrize(
    ("variable", "value"),
    [("NWDISCO_PORT", "0"), ("NWDISCO_PORT", "x"), ("NWDISCO_GROUP", "10.0.0.1"), ("NWDISCO_IDLE_S", "-1")],
)
def test_a_setting_that_cannot_be_is_one_line_that_names_it(machine: Machine, variable: str, value: str) -> None:
    machine.env[variable] = value
    for command in (("discover", "x"), ("beacon",), ("status",)):
        said = refusal(machine.command(*command))
        assert variable in said
        assert repr(value) in said


@pytest.mark.parametrize(
    "args", [("advertise",), ("advertise", "x", "-p", "pair"), ("discover",), ("explode",), ("list", "--x")]
)
def test_a_wrong_use_is_explained(machine: Machine, args: tuple[str, ...]) -> None:
    done = machine.command(*args)
    assert (done.returncode, done.stdout) == (2, "")
    assert "Usage: " in done.stderr
    assert "Error: " in done.stderr
    assert "Traceback" not in done.stderr


def test_ctrl_c_ends_a_wait_without_a_word(machine: Machine) -> None:
    machine.call("discover_all")
    waiting = Running(machine, "discover", "nobody")
    wait_until(
        lambda: machine.status()["programs"] == 2, "the waiting command, beside the one that asks for the status"
    )
    assert waiting.end(signal.SIGINT) == 130
    assert waiting.errors() == ""


def test_help_names_every_command_and_every_setting(machine: Machine) -> None:
    done = machine.command("--help")
    assert done.returncode == 0
    for command in ("beacon", "advertise", "discover", "list", "watch", "status", "stop", "demo"):
        assert f"\n  {command} " in done.stdout
        assert machine.command(command, "--help").returncode == 0
    for _, variable, _, _ in config.SETTINGS:
        assert variable in done.stdout


def test_the_installed_command_is_the_module(machine: Machine) -> None:
    by_name = subprocess.run(
        [os.path.join(os.path.dirname(sys.executable), "nwdisco"), "--version"],
        env=machine.env,
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
    )
    assert by_name.stdout == machine.command("--version").stdout == f"nwdisco, version {config.VERSION}\n"
