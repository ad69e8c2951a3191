"""Rooms and secrets on one machine: what the settings take and refuse, the command, the files; and a secret is never shown."""

from __future__ import annotations

import json
import os
import stat
from hashlib import blake2s
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nwdisco import config
from nwdisco.beacon.runtime import MAX_SOCKET_PATH, Runtime
from nwdisco.errors import SettingError
from nwdisco.settings import Settings
from tests.command import Running, objects, refusal
from tests.machines import Machine, wait_until

SECRET = "a secret of the test"


def settings(**variables: str) -> Settings:
    return Settings.from_environment(variables)


def why_not(**variables: str) -> str:
    """What is said of settings that cannot be."""
    with pytest.raises(SettingError) as refused:
        settings(**variables)
    return str(refused.value)


@pytest.fixture
def secret_file(place: Path) -> Path:
    path = place / "secret"
    path.write_text(f"\n  {SECRET}\r\n\n")
    return path


# --- settings ---


def test_without_settings_there_is_neither_room_nor_secret() -> None:
    assert (settings().room, settings().secret) == ("", "")
    assert (settings(NWDISCO_ROOM="", NWDISCO_SECRET="", NWDISCO_SECRET_FILE="").secret) == ""


@pytest.mark.parametrize("room", ["3b", "Zimmer ä", "a/b", "..", "-x", "教室", "x" * config.MAX_ROOM_BYTES])
def test_any_printable_name_is_a_room(room: str) -> None:
    assert settings(NWDISCO_ROOM=room).room == room


@pytest.mark.parametrize(
    "room", ["a\nb", "\x1b[2J", "\x00", "\udcff", "x" * (config.MAX_ROOM_BYTES + 1), "ä" * 51], ids=ascii
)
def test_a_name_that_no_room_can_have_is_refused(room: str) -> None:
    said = why_not(NWDISCO_ROOM=room)
    assert said.startswith("NWDISCO_ROOM is ")
    assert "100 bytes at most" in said
    assert said.isprintable()


def test_a_secret_is_taken_as_it_is_or_from_a_file_without_the_white_space_around_it(secret_file: Path) -> None:
    assert settings(NWDISCO_SECRET=f" {SECRET} ").secret == f" {SECRET} "
    assert settings(NWDISCO_SECRET_FILE=str(secret_file)).secret == SECRET


def test_the_path_of_a_secret_may_begin_at_home(secret_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(secret_file.parent))
    assert settings(NWDISCO_SECRET_FILE="~/secret").secret == SECRET


@given(st.text(st.characters(codec="utf-8", exclude_characters="\x00"), min_size=1, max_size=config.MIN_SECRET - 1))
def test_a_short_secret_is_refused_and_not_shown(secret: str) -> None:
    words = why_not(NWDISCO_SECRET=secret)
    assert words == f"the secret has {len(secret)} characters: give 8 or more, on all machines the same"


def test_a_secret_and_a_file_with_one_are_too_much_and_neither_is_shown(secret_file: Path) -> None:
    said = why_not(NWDISCO_SECRET="another secret", NWDISCO_SECRET_FILE=str(secret_file))
    assert said == "NWDISCO_SECRET and NWDISCO_SECRET_FILE are both set: set one of them"


def test_a_file_that_cannot_be_read_is_named(place: Path) -> None:
    for path, why in ((place / "nobody", "No such file"), (place, "Is a directory")):
        said = why_not(NWDISCO_SECRET_FILE=str(path))
        assert said.startswith(f"NWDISCO_SECRET_FILE is {str(path)!r}, which cannot be read: ")
        assert why in said


@pytest.mark.parametrize("content", [b"", b" \n", b"short", b"  seven77  "])
def test_a_file_with_a_short_secret_is_refused_and_its_content_not_shown(secret_file: Path, content: bytes) -> None:
    secret_file.write_bytes(content)
    said = why_not(NWDISCO_SECRET_FILE=str(secret_file))
    assert said.startswith(f"the secret has {len(content.strip())} characters")
    assert not content.strip() or content.strip().decode() not in said


def test_a_file_that_is_no_text_is_refused_and_its_content_not_shown(secret_file: Path) -> None:
    secret_file.write_bytes(b"only half \xff a text")
    said = why_not(NWDISCO_SECRET_FILE=str(secret_file))
    assert "is no text" in said
    assert "half" not in said


def test_of_an_endless_file_no_more_is_read_than_a_secret_may_have() -> None:
    assert settings(NWDISCO_SECRET_FILE="/dev/zero").secret == "\0" * config.MAX_SECRET_FILE


# --- files ---


@given(st.text(max_size=config.MAX_ROOM_BYTES), st.text(max_size=config.MAX_ROOM_BYTES))
def test_each_room_has_files_of_its_own_whatever_its_name(one: str, other: str) -> None:
    def files(room: str) -> list[str]:
        mine = settings(NWDISCO_RUNTIME_DIR="/r")
        mine.room = room
        runtime = Runtime(mine)
        return [runtime.socket, runtime.lock, runtime.start_lock, runtime.log]

    for path in files(one):
        assert Path(path).parent == Path("/r")
        assert Path(path).name.isascii()
        assert len(path) < MAX_SOCKET_PATH - 60
    assert (set(files(one)) & set(files(other)) == set()) == (one != other)


def test_no_room_has_the_files_that_it_always_had() -> None:
    runtime = Runtime(settings(NWDISCO_RUNTIME_DIR="/r"))
    assert (runtime.socket, runtime.lock, runtime.start_lock, runtime.log) == (
        "/r/beacon.sock",
        "/r/beacon.lock",
        "/r/start.lock",
        "/r/beacon.log",
    )


def test_beacons_of_rooms_live_side_by_side_each_with_its_files(machine: Machine) -> None:
    pids = set()
    for room in ("", "3b", "Zimmer ä"):
        machine.env["NWDISCO_ROOM"] = room
        machine.call("discover_all")
        status = machine.status()
        assert status["room"] == room
        name = "beacon-" + blake2s(room.encode(), digest_size=8).hexdigest() if room else "beacon"
        assert Path(status["socket"]) == machine.runtime_dir / f"{name}.sock"
        assert int((machine.runtime_dir / f"{name}.lock").read_text()) == status["pid"]
        log = machine.runtime_dir / f"{name}.log"
        assert f"on {status['socket']}" in log.read_text()
        assert stat.S_IMODE(log.stat().st_mode) == 0o600
        pids.add(status["pid"])
    assert len(pids) == 3
    machine.env["NWDISCO_ROOM"] = "3b"
    assert machine.command("stop").returncode == 0
    machine.env["NWDISCO_ROOM"] = ""
    assert machine.status()["room"] == ""


# --- programs and the command ---


def test_programs_of_different_rooms_know_nothing_of_each_other(machine: Machine) -> None:
    machine.program().call("advertise", "same", ":1")
    machine.env["NWDISCO_ROOM"] = "3b"
    machine.program().call("advertise", "same", ":2", fail_if_exists=True)
    machine.env["NWDISCO_ROOM"] = "3c"
    assert machine.names() == []
    for room, address in (("", "127.0.0.1:1"), ("3b", "127.0.0.1:2")):
        machine.env["NWDISCO_ROOM"] = room
        assert machine.call("discover", "same") == address


def test_the_command_takes_a_room_which_goes_before_the_variable(machine: Machine) -> None:
    machine.env["NWDISCO_ROOM"] = "3c"
    running = Running(machine, "--room", "3b", "advertise", "printer/a", ":8080")
    assert running.line() == "127.0.0.1:8080"
    (service,) = objects(machine.command("--room", "3b", "list", "--json").stdout)
    assert service["name"] == "printer/a"
    assert machine.command("--room", "3b", "discover", "printer/a").stdout == "127.0.0.1:8080\n"
    assert machine.command("list").returncode == 1
    assert json.loads(machine.command("--room", "3b", "status", "--json").stdout)["room"] == "3b"
    assert "room: 3b\n" in machine.command("--room", "3b", "status").stdout
    assert machine.command("--room", "", "list").returncode == 1, "no room"


def test_a_beacon_in_the_foreground_takes_a_room(machine: Machine) -> None:
    beacon = machine.start("beacon", "--room", "3b")
    wait_until(lambda: machine.command("--room", "3b", "status").returncode == 0, "the beacon")
    assert json.loads(machine.command("--room", "3b", "status", "--json").stdout)["pid"] == beacon.pid
    assert machine.command("status").returncode == 1


@pytest.mark.parametrize(
    "args", [("--room", "a\nb", "list"), ("--room", "x" * 101, "status"), ("beacon", "--room", "\x07")]
)
def test_a_room_that_cannot_be_is_one_line_of_the_command(machine: Machine, args: tuple[str, ...]) -> None:
    assert "--room is " in refusal(machine.command(*args))
    assert not machine.runtime_dir.exists()


def test_a_beacon_that_a_program_starts_has_the_secret_of_the_file(machine: Machine, secret_file: Path) -> None:
    machine.env["NWDISCO_SECRET_FILE"] = str(secret_file)
    machine.call("discover_all")
    assert machine.status()["has_secret"] is True
    machine.command("stop")
    wait_until(lambda: machine.command("status").returncode == 1, "the beacon's end")
    del machine.env["NWDISCO_SECRET_FILE"]
    machine.call("discover_all")
    assert machine.status()["has_secret"] is False


def test_a_running_beacon_keeps_its_secret_whatever_a_program_says(machine: Machine) -> None:
    machine.env["NWDISCO_SECRET"] = SECRET
    machine.program().call("advertise", "here", ":1")
    pid = machine.beacon_pid()
    machine.env["NWDISCO_SECRET"] = "another secret"
    assert machine.call("discover", "here") == "127.0.0.1:1"
    del machine.env["NWDISCO_SECRET"]
    assert machine.names() == ["here"]
    assert (machine.beacon_pid(), machine.status()["has_secret"]) == (pid, True)


def test_two_users_with_one_secret_find_each_other_and_one_with_another_does_not(
    machine: Machine, place: Path, secret_file: Path
) -> None:
    machine.env["NWDISCO_SECRET_FILE"] = str(secret_file)
    shared = {name: machine.env[name] for name in ("NWDISCO_INTERFACES", "NWDISCO_PORT")}
    friend = Machine(place / "friend", NWDISCO_SECRET=SECRET, **shared)
    other = Machine(place / "other", NWDISCO_SECRET="another secret", **shared)
    try:
        machine.program().call("advertise", "a", ":1")
        friend.program().call("advertise", "b", ":2")
        other.program().call("advertise", "c", ":3")
        for one in (machine, friend):
            wait_until(lambda one=one: one.names() == ["a", "b"], "those of the secret")  # type: ignore[misc]
        wait_until(lambda: machine.status()["strangers"], "the stranger")
        assert other.names() == ["c"]
        for one in (machine, friend, other):
            assert {stranger["reason"] for stranger in one.status()["strangers"]} <= {"other secret"}
    finally:
        friend.close()
        other.close()


@pytest.mark.parametrize("variable", ["NWDISCO_SECRET", "NWDISCO_SECRET_FILE"])
def test_a_secret_that_cannot_be_is_one_line_and_not_shown(machine: Machine, place: Path, variable: str) -> None:
    path = place / "short"
    path.write_text("hush\n")
    machine.env[variable] = "hush" if variable == "NWDISCO_SECRET" else str(path)
    for command in (("list",), ("beacon",), ("status",)):
        said = refusal(machine.command(*command))
        assert "the secret has 4 characters" in said
        assert "hush" not in said


def test_a_secret_may_hold_any_bytes(machine: Machine) -> None:
    machine.env["NWDISCO_SECRET"] = os.fsdecode(b"secret \xff\xfe")
    machine.call("discover_all")
    assert machine.status()["has_secret"] is True
