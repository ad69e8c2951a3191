"""Rooms and secrets on real hosts: who sees whom is the table of docs/security.md, and a sealed LAN works as an open one does."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from nwdisco.core import sources
from nwdisco.settings import SETTINGS
from tests import test_hosts
from tests.documents import Document
from tests.machines import Machine, alive, wait_until
from tests.namespaces import Host, Network, run

DOCUMENT = Document("security.md")
SECRETS = {"none": "", "A": "first secret of the test", "B": "second secret of the test"}
ROOMS = ("", "3b", "3c")


class Kind(NamedTuple):
    """Beacons of a kind belong together."""

    room: str
    secret: str
    """A key of SECRETS."""

    @property
    def name(self) -> str:
        return f"room {self.room or 'none'}, secret {self.secret}"


KINDS = [Kind(room, secret) for room in ROOMS for secret in SECRETS]


def table() -> dict[tuple[bool, str, str], tuple[bool, str]]:
    """Whether one sees the other, and what it notes of it: by whether their rooms are the same, its secret and the other's.

    Of two secrets, "A" and "B" stand for any two.
    """
    rows = {}
    for line in DOCUMENT.text.splitlines():
        cells = [cell.strip().strip("`") for cell in line.split("|")[1:-1]]
        if len(cells) == 6 and cells[0] in ("the same", "different"):
            same, one, other, see, one_notes, other_notes = cells
            assert see in ("yes", "no")
            rows[same == "the same", one, other] = (see == "yes", one_notes)
            rows[same == "the same", other, one] = (see == "yes", other_notes)
    return rows


def of_the_table(one: Kind, other: Kind) -> tuple[bool, str]:
    rows = table()
    if one.room != other.room:
        return rows[False, "any", "any"]
    if "none" in (one.secret, other.secret):
        secrets = ["none" if kind.secret == "none" else "A" for kind in (one, other)]
    else:
        secrets = ["A", "A" if one.secret == other.secret else "B"]
    return rows[True, secrets[0], secrets[1]]


class Resident(Machine):
    """A user of a host, in a room, with a secret: users with the same secret share a runtime directory."""

    def __init__(self, host: Host, kind: Kind) -> None:
        place = host.network.place
        place.mkdir(exist_ok=True)
        secret_file = place / f"secret-{kind.secret}"
        secret_file.write_text(SECRETS[kind.secret] + "\n")
        secret = {"NWDISCO_SECRET_FILE": str(secret_file)} if SECRETS[kind.secret] else {}
        super().__init__(place / f"h{host.number}-{kind.secret}", host.prefix, NWDISCO_ROOM=kind.room, **secret)
        self.host = host
        self.kind = kind

    def strangers(self) -> set[tuple[str, str]]:
        """The reason and the IP of each."""
        return {(one["reason"], one["ip"]) for one in self.status()["strangers"]}


@pytest.fixture
def residents(network: Network) -> Iterator[list[Resident]]:
    """On each of two hosts a beacon of each kind, with an advert."""
    with ExitStack() as ends:
        found = [Resident(host, kind) for host in (network.host(), network.host()) for kind in KINDS]
        for one in found:
            ends.callback(one.close)
            one.program().begin("advertise", f"{one.kind.name}/{one.host.number}")
        for one in found:
            one.programs[0].end()
        yield found


def test_the_table_has_a_row_for_each_pair() -> None:
    assert all(of_the_table(one, other) for one in KINDS for other in KINDS)
    assert all(sees == (one == other) for one in KINDS for other in KINDS for sees in of_the_table(one, other)[:1])


def test_who_sees_whom_is_the_table_of_the_document(residents: list[Resident]) -> None:
    """On one LAN, and on one machine: each host has all the kinds."""
    for one in residents:
        others = [(other, *of_the_table(one.kind, other.kind)) for other in residents]
        seen = {f"{other.kind.name}/{other.host.number}" for other, sees, _ in others if sees}
        noted = {(notes, other.host.ip()) for other, sees, notes in others if not sees}
        wait_until(
            lambda one=one, seen=seen: {name for name, _ in one.programs[0].call("discover_all")} == seen,  # type: ignore[misc]
            f"{sorted(seen)} and no other for {one.kind.name} on host {one.host.number}",
        )
        wait_until(
            lambda one=one, noted=noted: one.strangers() == noted,  # type: ignore[misc]
            f"strangers {sorted(noted)} of {one.kind.name} on host {one.host.number}",
        )
    for one in residents:  # after all of the above went on
        assert {name for name, _ in one.programs[0].call("discover_all")} == {
            f"{one.kind.name}/1",
            f"{one.kind.name}/2",
        }


def test_each_reason_is_said_once_in_the_log(residents: list[Resident]) -> None:
    for one in residents:
        reasons = {of_the_table(one.kind, other)[1] for other in KINDS} - {""}
        wait_until(
            lambda one=one, reasons=reasons: {reason for reason, _ in one.strangers()} == reasons,  # type: ignore[misc]
            "all the strangers",
        )
    for one in residents:
        status = one.status()
        log = Path(status["socket"]).with_suffix(".log").read_text()
        heard = {stranger["reason"] for stranger in status["strangers"]}
        assert sum(stranger["datagrams"] for stranger in status["strangers"]) > len(heard)
        assert [log.count(sources.SAID[reason]) for reason in heard] == [1] * len(heard), log
        assert log.count("(said once)") == len(heard)


def test_a_user_has_a_beacon_for_each_room_and_the_command_asks_the_one_that_is_meant(network: Network) -> None:
    host = network.host()
    everywhere = [Resident(host, Kind(room, "none")) for room in ROOMS]
    in_no_room, in_3b, _ = everywhere
    try:
        for one in everywhere:
            one.program().call("advertise", f"in {one.kind.room or 'none'}")
        assert len({one.runtime_dir for one in everywhere}) == 1
        assert len({one.beacon_pid() for one in everywhere}) == 3
        for machine, args in ((in_no_room, ("--room", "3b", "list", "--json")), (in_3b, ("list", "--json"))):
            done = machine.command(*args)
            assert [json.loads(line)["name"] for line in done.stdout.splitlines()] == ["in 3b"], done.stderr
    finally:
        for one in everywhere:
            one.close()


# --- a sealed LAN works as an open one does ---


class SealedNetwork(Network):
    """Whose hosts are in a room and have a secret."""

    def host(self, *lans: int, user: str = "") -> Host:
        host = super().host(*lans, user=user)
        host.env |= {"NWDISCO_ROOM": "3b", "NWDISCO_SECRET": SECRETS["A"]}
        return host


@pytest.fixture
def sealed_network(network: Network, place: Path) -> Iterator[Network]:
    """`network` says why the test skips, where it must."""
    sealed = SealedNetwork(place / "sealed")
    yield sealed
    sealed.close()


@pytest.mark.parametrize(
    "scenario",
    [
        test_hosts.test_a_waiting_discover_returns_when_another_host_advertises,
        test_hosts.test_who_comes_late_finds_all_at_the_first_call,
        test_hosts.test_changes_and_withdrawals_are_seen_by_a_watch,
        test_hosts.test_a_killed_program_is_gone_everywhere_and_its_beacon_stays,
        test_hosts.test_a_killed_beacon_is_replaced_and_its_adverts_never_leave_anybodys_list,
        test_hosts.test_a_pulled_cable_empties_the_lists_and_put_back_fills_them,
        test_hosts.test_30_percent_loss_loses_no_advert_and_drops_no_live_one,
        test_hosts.test_multicast_alone_is_enough,
        test_hosts.test_each_side_of_a_host_with_two_networks_gets_an_address_that_it_can_reach,
        test_hosts.test_an_address_that_changes_under_a_running_beacon_changes_everywhere,
        test_hosts.test_the_name_advertised_last_wins_on_every_host_and_fail_if_exists_counts_the_whole_lan,
    ],
    ids=lambda scenario: scenario.__name__.removeprefix("test_"),
)
def test_with_a_room_and_a_secret_as_without(sealed_network: Network, scenario: Callable[[Network], None]) -> None:
    scenario(sealed_network)
    statuses = [host.status() for host in sealed_network.hosts if host.command("status").returncode == 0]
    assert statuses
    for status in statuses:
        assert (status["room"], status["has_secret"], status["strangers"]) == ("3b", True, [])


def test_the_secret_stands_in_no_list_of_processes_no_log_and_no_status(network: Network) -> None:
    by_file, by_variable = Resident(network.host(), Kind("", "A")), Resident(network.host(), Kind("", "B"))
    del by_variable.env["NWDISCO_SECRET_FILE"]
    by_variable.env["NWDISCO_SECRET"] = SECRETS["B"]
    stranger = Resident(network.host(), Kind("", "none"))
    everybody = (by_file, by_variable, stranger)
    try:
        for one in everybody:
            one.program().call("advertise", one.kind.name)
        for one in everybody:
            wait_until(lambda one=one: len(one.strangers()) == 2, "the strangers")  # type: ignore[misc]
        shown = [one.command("status", *options).stdout for one in everybody for options in ((), ("--json",))]
        for one in everybody:
            pids = run("ip", "netns", "pids", one.host.namespace).split()
            assert str(one.beacon_pid()) in pids
            shown += [Path(f"/proc/{pid}/cmdline").read_bytes().decode() for pid in pids if alive(int(pid))]
            shown.append((one.runtime_dir / "beacon.log").read_text())
            assert shown[-1]
        for secret in (SECRETS["A"], SECRETS["B"]):
            assert not [text for text in shown if secret in text]
    finally:
        for one in everybody:
            one.close()


# --- what was recorded is worth nothing ---

EAVESDROPPER = f"""
import json, socket, struct, sys, time
own_ip, group, port = sys.argv[1], "{SETTINGS[1][2]}", {SETTINGS[0][2]}
end = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
end.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
end.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
end.bind(("", port))
end.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, socket.inet_aton(group) + socket.inet_aton(own_ip))
end.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton(own_ip))
recorded = []
print("ready", flush=True)
for line in sys.stdin:
    verb, *args = json.loads(line)
    if verb == "record":  # until so many have come from an address
        ip, wanted = args
        while sum(source == ip for _, source in recorded) < wanted:
            data, source = end.recvfrom(2048)
            if source[0] != own_ip:
                recorded.append((data, source[0]))
        print(json.dumps([sum(data[:4] == b"nw1#" for data, _ in recorded), len(recorded)]), flush=True)
    else:  # replay it all, to everybody and to one
        for data, _ in recorded:
            for to in ((group, port), (args[0], port)):
                end.sendto(data, to)
            time.sleep(0.001)
        print(len(recorded), flush=True)
"""


class Eavesdropper:
    """Records what is said on the LAN, and says it again."""

    def __init__(self, host: Host) -> None:
        self._process = subprocess.Popen(
            [*host.prefix, sys.executable, "-c", EAVESDROPPER, host.ip()],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._read()

    def do(self, *what: Any) -> Any:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(what) + "\n")
        self._process.stdin.flush()
        return json.loads(self._read())

    def close(self) -> None:
        self._process.kill()
        self._process.communicate()

    def _read(self) -> str:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line, "the eavesdropper has ended"
        return line


@pytest.fixture
def eavesdropper(sealed_network: Network) -> Iterator[Eavesdropper]:
    found = Eavesdropper(sealed_network.host())
    yield found
    found.close()


def sealed_hosts(network: Network) -> tuple[Host, Host]:
    """Two that have met; the first advertises, has changed and taken back."""
    a, b = network.host(), network.host()
    for host in (a, b):
        del host.env["NWDISCO_ROOM"]
    test_hosts.ready(a, b)
    a.programs[0].call("advertise", "stays", ":1")
    a.programs[0].call("advertise", "moves", ":2")
    a.programs[0].call("advertise", "moves", ":3")
    a.programs[0].call("advertise", "goes", ":4")
    a.programs[0].call("unadvertise", "goes")
    test_hosts.wait_for_names(b, {"stays", "moves"})
    return a, b


def test_what_is_replayed_of_a_node_that_lives_changes_nothing(
    sealed_network: Network, eavesdropper: Eavesdropper
) -> None:
    a, b = sealed_hosts(sealed_network)
    watcher = b.program()
    watcher.call("watch", None, wait_for_s=6)
    assert {watcher.call("next_event")[1] for _ in range(2)} == {"stays", "moves"}
    sealed, recorded = eavesdropper.do("record", a.ip(), 10)
    assert sealed == recorded
    copies = b.status()["lan"].get("copies", 0)
    assert eavesdropper.do("replay", b.ip()) == recorded
    wait_until(lambda: b.status()["lan"].get("copies", 0) >= copies + recorded, "the replays")
    assert watcher.call("next_event") is None, "something changed"
    assert b.programs[0].call("discover", "moves") == f"{a.ip()}:3"
    assert [node["address"].split(":")[0] for node in b.status()["nodes"]] == [a.ip()]


def test_what_was_recorded_before_the_receiver_restarted_is_not_believed_after(
    sealed_network: Network, eavesdropper: Eavesdropper
) -> None:
    a, b = sealed_hosts(sealed_network)
    sealed, recorded = eavesdropper.do("record", a.ip(), 10)
    assert sealed == recorded > 0
    a.programs[0].finish()
    for host in (a, b):
        assert host.command("stop").returncode == 0
    for host in (a, b):
        wait_until(lambda host=host: host.command("status").returncode == 1, "the beacon's end")  # type: ignore[misc]
    assert test_hosts.names(b) == set(), "a new beacon"
    unproved = b.status()["lan"].get("unproved", 0)
    assert eavesdropper.do("replay", b.ip()) == recorded
    wait_until(lambda: b.status()["lan"].get("unproved", 0) >= unproved + recorded / 2, "the replays")
    assert test_hosts.names(b) == set()
    assert b.status()["nodes"] == []
    c = sealed_network.host()
    del c.env["NWDISCO_ROOM"]
    c.program().call("advertise", "newcomer", ":5")
    test_hosts.wait_for_names(b, {"newcomer"})
    assert eavesdropper.do("replay", b.ip()) == recorded
    assert test_hosts.names(b) == {"newcomer"}


def test_where_a_secret_is_asked_for_nobody_without_it_is_answered(network: Network) -> None:
    """A whole conversation of this protocol, from a socket: not one byte comes back."""
    host, eve = Resident(network.host(), Kind("", "A")), network.host()
    host.program().call("advertise", "hidden")
    says = f"""
import socket
end = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
end.bind(("{eve.ip()}", 0))
for data in (b'nw1["who","q1W-8z","{" " * 70}"]', b'nw1["beat","evil0000",10412,7,2]', b'nw1["bye","evil0000",10413]'):
    for _ in range(20):
        end.sendto(data, ("{host.host.ip()}", {SETTINGS[0][2]}))
end.settimeout(3)
try:
    print(end.recv(2048))
except TimeoutError:
    print("silence")
"""
    try:
        assert eve.python(says).stdout == "silence\n"
        assert host.strangers() == {("has no secret, we have one", eve.ip())}
        assert host.status()["nodes"] == []
    finally:
        host.close()
