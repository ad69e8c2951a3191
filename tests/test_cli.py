"""`nwdisco advertise`, `discover` and `list`, as people and scripts run them: real processes, their output and exit status."""

from __future__ import annotations

import json
import signal

import pytest

from tests.command import Running, objects, refusal
from tests.machines import DEADLINE_S, Machine, wait_until

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


def test_ctrl_c_ends_a_wait_without_a_word(machine: Machine) -> None:
    machine.call("discover_all")
    waiting = Running(machine, "discover", "nobody")
    wait_until(
        lambda: machine.status()["programs"] == 2, "the waiting command, beside the one that asks for the status"
    )
    assert waiting.end(signal.SIGINT) == 130
    assert waiting.errors() == ""


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
