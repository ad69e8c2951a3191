"""The beacon by hand: `nwdisco beacon` runs one, `status` shows it, `stop` ends it."""

from __future__ import annotations

import signal
import socket

import pytest

from nwdisco import config
from tests.command import Running, objects, refusal
from tests.machines import DEADLINE_S, Machine, alive, wait_until


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
