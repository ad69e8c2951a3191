"""Programs on one machine: threads, forks, ends, a beacon that dies, many that start at once. All real processes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.machines import Failed, Machine, alive, wait_until


def names(machine: Machine) -> set[str]:
    return {name for name, _ in machine.programs[0].call("discover_all")}


def test_the_verbs(machine: Machine) -> None:
    program = machine.program()
    address = program.call("advertise", "printer/a")
    assert address.startswith("127.0.0.1:")
    assert program.call("advertise", "printer/b", ":8080", properties={"dpi": "600"}) == "127.0.0.1:8080"
    assert program.call("advertise", "chat:me", "192.168.7.7:1") == "192.168.7.7:1"
    other = machine.program()
    assert other.call("discover", "printer/a") == address
    assert other.call("discover", "nobody", 0) is None
    assert dict(other.call("discover_group", "printer")) == {"printer/a": address, "printer/b": "127.0.0.1:8080"}
    assert other.call("discover_group", "printer", exclude="printer/a") == [["printer/b", "127.0.0.1:8080"]]
    assert other.call("discover_group", "printer", exclude=["printer/a", "printer/b"]) == []
    assert other.call("discover_group", "chat", separator=":") == [["chat:me", "192.168.7.7:1"]]
    assert [name for name, _ in other.call("discover_all")] == ["chat:me", "printer/a", "printer/b"]
    assert program.call("unadvertise", "printer/a") is True
    assert program.call("unadvertise", "printer/a") is False
    assert other.call("discover", "printer/a", 0) is None


def test_results_are_pairs_that_carry_more(machine: Machine) -> None:
    done = machine.python(
        "import nwdisco as nw0\n"
        "nw0.advertise('a', ':1', properties={'k': 'v'})\n"
        "[service] = nw0.discover_all()\n"
        "name, address = service\n"
        "assert (name, address) == service == (service.name, service.address) == ('a', '127.0.0.1:1')\n"
        "assert service in {('a', '127.0.0.1:1')} and dict([service]) == {'a': '127.0.0.1:1'}\n"
        "assert service.properties == {'k': 'v'} and len(service.node) == 8 and 0 <= service.age_s < 20\n"
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("arguments", "options", "kind"),
    [
        ([""], {}, "AdvertError"),
        (["x" * 256], {}, "AdvertError"),
        (["a\nb"], {}, "AdvertError"),
        ([None], {}, "AdvertError"),
        (["a", "300.1.1.1:80"], {}, "InvalidAddressError"),
        (["a", "127.0.0.1:65536"], {}, "AddressError"),
        (["a", 0], {}, "AddressError"),
        (["a", "10.1.*"], {}, "NoAddressFoundError"),
        (["a"], {"properties": {"k": 1}}, "AdvertError"),
        (["a"], {"properties": {"k": "x" * 2000}}, "AdvertError"),
        (["a"], {"properties": ["k"]}, "AdvertError"),
        (["a"], {"ttl_s": -1}, "AdvertError"),
        (["a"], {"ttl_s": "5"}, "AdvertError"),
    ],
)
def test_bad_input_is_an_error_at_the_call_and_nothing_is_half_done(
    machine: Machine, arguments: list[object], options: dict[str, object], kind: str
) -> None:
    program = machine.program()
    program.call("advertise", "good", ":1")
    with pytest.raises(Failed) as failed:
        program.call("advertise", *arguments, **options)
    assert failed.value.kind == kind
    assert len(failed.value.message) > 20, "an error should say what to do"
    assert program.call("discover_all") == [["good", "127.0.0.1:1"]]
    with pytest.raises(Failed, match="wait_for_s"):
        program.call("discover", "good", -1)


def test_ten_threads_in_discover_at_once(machine: Machine) -> None:
    waiting, other = machine.program(), machine.program()
    other.call("discover_all")
    waiting.begin("discover_in_threads", "late", 10, 20)
    wait_until(lambda: machine.status()["programs"] >= 10, "ten waiting calls")
    address = other.call("advertise", "late")
    assert waiting.end() == [address] * 10


def test_ctrl_c_ends_a_blocked_discover_and_the_program_goes_on(machine: Machine) -> None:
    code = (
        "import nwdisco as nw0\n"
        "nw0.advertise('mine', ':1')\n"
        "print('ready', flush=True)\n"
        "try:\n"
        "    nw0.discover('nobody', nw0.FOREVER)\n"
        "except KeyboardInterrupt:\n"
        "    print(nw0.discover('mine', 0), flush=True)\n"
    )
    program = subprocess.Popen([sys.executable, "-c", code], env=machine.env, stdout=subprocess.PIPE, text=True)
    try:
        assert program.stdout is not None
        assert program.stdout.readline() == "ready\n"
        wait_until(lambda: machine.status()["programs"] >= 4, "the blocked call")
        program.send_signal(signal.SIGINT)
        assert program.communicate(timeout=5)[0] == "127.0.0.1:1\n"
        assert program.returncode == 0
    finally:
        program.kill()
        program.communicate()


def test_a_forked_child_leaves_its_parents_adverts_alone_and_ends_with_its_own(machine: Machine) -> None:
    machine.program()
    parent = machine.program()
    parent.call("advertise", "parent", ":1")
    child = parent.call("fork_and_advertise", "child")
    assert names(machine) == {"parent", "child"}
    assert parent.call("fork_and_exit") == 0
    assert names(machine) == {"parent", "child"}
    os.kill(child, signal.SIGKILL)
    parent.call("reap", child)
    wait_until(lambda: names(machine) == {"parent"}, "the child's advert gone")
    child = parent.call("fork_and_advertise", "orphan")
    parent.kill()
    wait_until(lambda: names(machine) == {"orphan"}, "the parent's advert gone though its child lives")
    os.kill(child, signal.SIGKILL)
    wait_until(lambda: names(machine) == set(), "the orphan's advert gone")


def test_multiprocessing_children_have_adverts_of_their_own(machine: Machine) -> None:
    machine.program()
    parent = machine.program()
    parent.call("advertise", "parent", ":1")
    parent.call("multiprocess", "child")
    assert names(machine) == {"parent", "child"}
    parent.call("end_multiprocess")
    wait_until(lambda: names(machine) == {"parent"}, "the child's advert gone")


def test_a_suspended_program_keeps_its_adverts(machine: Machine) -> None:
    machine.program()
    program = machine.program()
    program.call("advertise", "sleeper", ":1")
    program.kill(signal.SIGSTOP)
    gone: list[str] = []
    watcher = machine.program()
    watcher.call("watch", None, wait_for_s=7)  # longer than any lease
    while (event := watcher.call("next_event")) is not None:
        gone += [event[1]] if event[0] == "left" else []
    program.kill(signal.SIGCONT)
    assert gone == []
    assert names(machine) == {"sleeper"}


def test_a_program_that_exits_has_withdrawn_its_adverts_before_it_is_gone(machine: Machine) -> None:
    watcher = machine.program()
    for number in range(20):
        done = machine.python(f"import nwdisco as nw0; nw0.advertise('brief/{number}')")
        assert done.returncode == 0, done.stderr
        assert watcher.call("discover_all") == []


def test_programs_that_start_at_once_share_one_beacon(machine: Machine) -> None:
    programs = [machine.program() for _ in range(20)]
    for number, program in enumerate(programs):
        program.begin("advertise", f"pi/{number:02d}", f":{number + 1}")
    for program in programs:
        program.end()
    wanted = [[f"pi/{number:02d}", f"127.0.0.1:{number + 1}"] for number in range(20)]
    assert [program.call("discover_all") for program in programs] == [wanted] * 20
    marker = str(machine.runtime_dir).encode()
    beacons = [
        entry
        for entry in Path("/proc").iterdir()
        if entry.name.isdigit() and b"run_detached" in _read(entry / "cmdline") and marker in _read(entry / "environ")
    ]
    assert len(beacons) == 1


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return b""


def test_a_killed_beacon_is_replaced_and_every_advert_put_back(machine: Machine) -> None:
    programs = [machine.program() for _ in range(5)]
    for number, program in enumerate(programs):
        for letter in "ab":
            program.call("advertise", f"{number}/{letter}", ":1")
    waiting = machine.program()
    waiting.begin("discover", "late", 20)
    wanted = {f"{number}/{letter}" for number in range(5) for letter in "ab"}
    for _ in range(3):
        pid = machine.beacon_pid()
        os.kill(pid, signal.SIGKILL)
        wait_until(lambda p=pid: not alive(p), "the beacon's death")  # type: ignore[misc]
        wait_until(lambda: names(machine) == wanted, "all put back")
    programs[0].call("advertise", "late", ":2")
    assert waiting.end() == "127.0.0.1:2"


def test_a_watch_outlives_its_beacon_without_false_alarms(machine: Machine) -> None:
    program, watcher = machine.program(), machine.program()
    program.call("advertise", "a", ":1")
    watcher.call("watch", None)
    assert watcher.call("next_event") == ["joined", "a", "127.0.0.1:1"]
    os.kill(machine.beacon_pid(), signal.SIGKILL)
    watcher.begin("next_event")
    wait_until(lambda: program.call("discover", "a", 0), "the advert put back")
    program.call("advertise", "b", ":2")
    assert watcher.end() == ["joined", "b", "127.0.0.1:2"]


def test_the_beacon_is_nobodys_child_and_holds_nothing_of_the_program_that_started_it(machine: Machine) -> None:
    code = (
        "import os, nwdisco as nw0\n"
        "r, w = os.pipe(); os.set_inheritable(w, True)\n"
        "nw0.advertise('a')\n"
        "os.close(w)\n"
        "assert os.read(r, 1) == b''\n"
        "try:\n"
        "    os.waitpid(-1, os.WNOHANG)\n"
        "except ChildProcessError:\n"
        "    print('no child')\n"
    )
    assert machine.python(code).stdout == "no child\n"
    pid = machine.beacon_pid()
    assert os.readlink(f"/proc/{pid}/cwd") == "/"
    assert int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[3]) == pid, "no session of its own"


def test_a_beacon_starts_beside_files_named_like_modules(machine: Machine, place: Path) -> None:
    for name in ("socket", "random", "asyncio", "logging", "msgspec"):
        (place / f"{name}.py").write_text("raise RuntimeError('a file of the program, not the module')\n")
    (place / "socket.py").unlink()  # the program itself needs this one
    (place / "random.py").unlink()
    (place / "program.py").write_text("import nwdisco as nw0\nprint(nw0.advertise('a', ':1'))\n")
    done = subprocess.run(
        [sys.executable, "program.py"], cwd=place, env=machine.env, capture_output=True, text=True, timeout=30
    )
    assert done.stdout == "127.0.0.1:1\n", done.stderr


def test_a_runtime_directory_that_is_not_safe_is_an_error_that_says_what_to_do(place: Path) -> None:
    (place / "open").mkdir(mode=0o755)
    (place / "link").symlink_to(place / "open")
    for name, hint in (("open", "chmod 700"), ("link", "not a directory of yours"), ("x" * 120, "too long")):
        machine = Machine(place / name, NWDISCO_INTERFACES="lo")
        with pytest.raises(Failed, match=hint):
            machine.call("discover_all")
        machine.close()


def test_a_beacon_that_cannot_start_is_an_error_that_says_why(machine: Machine) -> None:
    machine.env["NWDISCO_PORT"] = "99999"
    with pytest.raises(Failed, match="NWDISCO_PORT is '99999'"):
        machine.call("discover_all")
    import socket

    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(("", 0))
        machine.env["NWDISCO_PORT"] = str(taken.getsockname()[1])
        with pytest.raises(Failed, match="set NWDISCO_PORT to another"):
            machine.call("discover_all")


def test_a_long_life_of_calls_leaks_no_file_descriptor(machine: Machine) -> None:
    program = machine.program()
    program.call("advertise", "a", ":1")
    open_files = []
    for _ in range(2):  # in the first half all is opened that it needs, its guard's thread included
        for number in range(50):
            program.call("advertise", f"b/{number}", ":1")
            program.call("discover_group", "b")
            program.call("unadvertise", f"b/{number}")
            program.call("discover", "nobody", 0)
        open_files.append(program.call("open_file_descriptors"))
    assert open_files[0] == open_files[1]


def test_a_thousand_adverts_of_one_program_are_listed_at_once(machine: Machine) -> None:
    program = machine.program()
    for number in range(1000):
        program.call("advertise", f"lamp/{number}", ":1")
    assert len(machine.program().call("discover_group", "lamp")) == 1000


def test_an_advert_too_many_is_refused_and_those_that_stand_stay(machine: Machine) -> None:
    done = machine.python(
        "import nwdisco as nw0\n"
        "from nwdisco.config import MAX_ADVERTS_PER_PROGRAM as most\n"
        "for number in range(most): nw0.advertise(f'lamp/{number}', ':1')\n"
        "with nw0.watch() as watch:\n"
        "    for _ in range(most): next(watch)\n"
        "    try: nw0.advertise('one/more', ':1')\n"
        "    except nw0.BeaconError as error: print(error)\n"
        "    nw0.unadvertise('lamp/7')\n"
        "    event = next(watch)\n"
        "    print(event.kind, event.name, len(nw0.discover_all()))\n"
    )
    assert done.stdout == "a program has 20000 adverts at most\nleft lamp/7 19999\n", done.stderr
