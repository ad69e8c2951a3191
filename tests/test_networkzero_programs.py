"""NetworkZero's programs on a machine of ours, and what strangers send to both ports."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests import networkzero_peer
from tests.machines import Failed, Machine, alive, wait_until
from tests.namespaces import Network, run
from tests.networkzero_hosts import (
    a_host,
    holds,
    link,
    start_beacon,
    theirs,
    with_link,
)


@pytest.fixture
def python() -> str:
    return networkzero_peer.python()


# --- programs of NetworkZero's on a machine of ours ---


def test_three_networkzero_programs_work_through_our_beacon(network: Network, python: str) -> None:
    host, other = with_link(network), a_host(network)
    one, two, three = (theirs(host, python) for _ in range(3))
    elsewhere = theirs(other, python)
    seen = other.program()
    three.begin("discover", "room/one", 20)  # before it is there
    address = one.call("advertise", "room/one")
    assert three.end() == address
    assert address.startswith(f"{host.ip()}:")
    given = two.call("advertise", "room/two", 50_123)
    assert given == f"{host.ip()}:50123"
    assert three.call("advertise", "hall", "localhost:50124") == "127.0.0.1:50124"
    assert three.call("advertise", "room/two", fail_if_exists=True) is None
    assert three.call("discover", "room/two") == given
    assert three.call("discover", "nobody", 0) is None
    assert sorted(one.call("discover_all")) == [["hall", "127.0.0.1:50124"], ["room/one", address], ["room/two", given]]
    assert two.call("discover_group", "room") == [["room/one", address], ["room/two", given]]
    assert two.call("discover_group", "room", exclude=["room/two"]) == [["room/one", address]]
    assert seen.call("discover", "room/one", 10) == address
    assert elsewhere.call("discover", "room/one", 10) == address

    one.begin("wait_for_message_from", address, 20)
    two.begin("send_message_to", address, ["hello", 1])
    assert one.end() == ["hello", 1]
    one.call("send_reply_to", address, {"fine": True})
    assert two.end() == {"fine": True}
    one.begin("wait_for_message_from", address, 20)
    three.begin("send_message_to", address, "from three")
    assert one.end() == "from three"
    one.call("send_reply_to", address, None)
    assert three.end() is None

    assert link(host)["programs"] == 3
    assert one.finish() == 0  # it takes its adverts back
    wait_until(lambda: "room/one" not in host.names() + other.names(), "room/one gone")
    wait_until(lambda: "room/one" not in dict(elsewhere.call("discover_all")), "gone from NetworkZero elsewhere")
    assert sorted(host.names()) == ["hall", "room/two"]
    assert two.call("reset_beacon") is None
    assert host.names() == []


def test_a_networkzero_program_that_was_there_first_keeps_its_ports_and_is_told_of_ours_until_it_ends(
    network: Network, python: str
) -> None:
    host = a_host(network)
    first = theirs(host, python)
    first.call("advertise", "theirs/first")
    start_beacon(host)
    status = link(host)
    assert (status["udp"], status["rpc"]) == (None, None)
    assert "UDP port 9999" in status["why_not"]
    assert "UDP port 9999" in host.command("status").stdout
    address = host.program().call("advertise", "ours")
    assert first.call("discover", "ours", 10) == address
    first.kill()
    wait_until(lambda: link(host)["rpc"] is not None, "the ports are ours")
    second = theirs(host, python)
    assert second.call("discover", "ours", 10) == address


def test_a_beacon_that_a_program_starts_has_the_link_by_its_setting_and_lives_while_networkzero_s_programs_use_it(
    network: Network, python: str
) -> None:
    host = a_host(network)
    host.env |= {"NWDISCO_NETWORKZERO": "yes", "NWDISCO_IDLE_S": "0.5"}
    ours = host.program()  # keeps the beacon until theirs is there
    ours.call("discover_all")
    nz = theirs(host, python)
    assert nz.call("advertise", "theirs")
    assert ours.finish() == 0
    pid = host.beacon_pid()
    holds(lambda: alive(pid), "it is used", 2)
    assert nz.finish() == 0
    wait_until(lambda: not alive(pid), "its end")


def test_two_users_of_a_machine_share_networkzero_s_lan(network: Network, python: str) -> None:
    host, other = with_link(network), a_host(network)
    user = host.other_user("u2")
    try:
        start_beacon(user)
        status = link(user)
        assert status["udp"] == "0.0.0.0:9999"
        assert status["rpc"] is None
        nz = theirs(other, python)
        address = user.program().call("advertise", "ours/u2")
        assert nz.call("discover", "ours/u2", 10) == address
        theirs_at = nz.call("advertise", "theirs/a")
        for machine in (host, user):
            assert machine.call("discover", "theirs/a", 10) == theirs_at
    finally:
        user.close()


# --- strangers ---


def test_strangers_datagrams_are_counted_and_dropped_and_networkzero_s_programs_go_on(
    network: Network, python: str
) -> None:
    a, b = a_host(network), with_link(network)
    nz = theirs(a, python)
    code = (
        "import socket, sys\n"
        "end = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\n"
        "for data in sys.argv[2:]:\n"
        "    end.sendto(bytes.fromhex(data), (sys.argv[1], 9999))\n"
    )
    run(
        *a.prefix,
        "python3",
        "-c",
        code,
        b.ip(),
        *[data.hex() for data in [*networkzero_peer.MALFORMED, b'["' + b"x" * 300 + b'"]']],
    )
    wait_until(lambda: link(b)["dropped"].get("malformed") == len(networkzero_peer.MALFORMED), "all are counted")
    assert link(b)["dropped"]["too_long"] == 1
    assert b.names() == []
    address = nz.call("advertise", "theirs/a")
    assert b.call("discover", "theirs/a", 10) == address


def test_what_fits_no_datagram_is_left_out_and_networkzero_s_programs_go_on(network: Network, python: str) -> None:
    a, b = a_host(network), with_link(network)
    nz = theirs(a, python)
    program = b.program()
    program.call("advertise", "x" * 255, ":1")
    address = program.call("advertise", "short", ":2")
    assert nz.call("discover", "short", 10) == address
    assert link(b)["dropped"]["left_out"] == 1
    assert list(dict(nz.call("discover_all"))) == ["short"]


def test_bad_requests_are_answered_null_and_the_door_goes_on(network: Network, python: str) -> None:
    host = with_link(network)
    requests = [
        b"",
        b"\xff",
        b"{}",
        b"[]",
        b'["explode"]',
        b'["advertise"]',
        b'["advertise",1]',
        b'["advertise","x",[]]',
        b'["advertise","","a:1"]',
        b'["advertise","x","a:b:c"]',
        b'["advertise","x","no such host.invalid:1"]',
        b'["advertise","x",99999]',
        b'["discover"]',
        b'["discover","x","soon"]',
        b'["stop"]',
        b"[" * 2000,
    ]
    code = (
        "import json, sys, zmq\n"
        "context = zmq.Context()\n"
        "for data in sys.argv[1:]:\n"
        "    with context.socket(zmq.REQ) as end:\n"
        "        end.linger = 0\n"
        "        end.connect('tcp://127.0.0.1:9998')\n"
        "        end.send(bytes.fromhex(data))\n"
        "        assert end.poll(10_000), data\n"
        "        print(end.recv().decode())\n"
        "for frames in ([b'x'], [b'', b'a', b'b'], [b'x' * 100_000], [b'']):\n"
        "    with context.socket(zmq.DEALER) as end:\n"
        "        end.connect('tcp://127.0.0.1:9998')\n"
        "        end.send_multipart(frames)\n"
        "        end.poll(50)\n"
        "        end.linger = 0\n"
    )
    answers = run(*host.prefix, python, "-c", code, *[request.hex() for request in requests]).split()
    assert answers == ["null"] * len(requests)
    with pytest.raises(Failed):
        theirs(host, python).call("send_message_to", "nonsense:", wait_for_reply_s=0)
    assert theirs(host, python).call("advertise", "works", ":1") == f"{host.ip()}:1"
    refused = link(host)["refused"]
    assert refused["malformed"] >= len(requests) - 5
    assert refused["bad_address"] == 3
    assert refused["bad_advert"] == 1


def test_without_the_link_a_beacon_takes_no_pyzmq_in(machine: Machine) -> None:
    machine.call("discover_all")
    status = machine.status()
    assert status["networkzero"] is None
    assert "networkzero: off" in machine.command("status").stdout.splitlines()
    assert "zmq" not in Path(f"/proc/{status['pid']}/maps").read_text()


def test_with_the_link_a_beacon_at_rest_uses_no_time(network: Network, python: str) -> None:
    host = with_link(network)
    assert theirs(host, python).call("advertise", "x")
    stat = Path(f"/proc/{host.beacon_pid()}/stat")

    def ticks() -> int:
        return sum(map(int, stat.read_text().rpartition(")")[2].split()[11:13]))

    before = ticks()
    holds(lambda: True, "", 3)
    assert ticks() - before < 15, "hundredths of a second, of 300"
