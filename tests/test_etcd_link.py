"""The etcd link against a real etcd: two beacons that hear nothing of each other but through it."""

from __future__ import annotations

import os
import signal
import socket
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from nwdisco import config
from tests.etcd import Etcd
from tests.machines import Machine, Program, wait_until
from tests.ports import free_port

BACK_S = 10.0
"""Within so long all is in step again (a second or two, on a machine with time to spare)."""


class Pair:
    """Two beacons on LANs of their own, each with a program."""

    def __init__(self, place: Path, etcd: Etcd, **env: str) -> None:
        self.etcd = etcd
        self.machines = [
            Machine(
                place / str(number),
                NWDISCO_INTERFACES="lo",
                NWDISCO_PORT=str(free_port()),
                NWDISCO_ETCD=etcd.address,
                **env,
            )
            for number in range(2)
        ]
        self.a, self.b = (machine.program() for machine in self.machines)

    def close(self) -> None:
        for machine in self.machines:
            machine.close()

    def lease(self) -> int:
        """Of the first beacon, once it has one."""
        lease: int = wait_until(lambda: self.machines[0].status()["etcd"]["lease"], "a lease")
        return lease

    def events(self, count: int) -> list[list[Any]]:
        return [self.b.call("next_event") for _ in range(count)]


@pytest.fixture
def pair(place: Path, etcd: Etcd) -> Iterator[Pair]:
    pair = Pair(place, etcd, NWDISCO_ETCD_PLAIN="hello")
    yield pair
    pair.close()


def lists(program: Program, names: set[str], why: str, deadline_s: float = BACK_S) -> float:
    """Until a program lists exactly these; how long it took."""
    began_at = time.monotonic()
    wait_until(lambda: {name for name, _ in program.call("discover_all")} == names, why, deadline_s)
    return time.monotonic() - began_at


def test_what_one_advertises_the_other_discovers_watches_and_loses(pair: Pair) -> None:
    pair.b.call("watch", "hello")
    pair.b.begin("next_event")
    address = pair.a.call("advertise", "hello/a", properties={"x": "y"})
    assert pair.b.end() == ["joined", "hello/a", address]
    other = pair.a.call("advertise", "hello/a", "127.0.0.1:7")
    assert pair.events(1) == [["changed", "hello/a", other]]
    pair.a.kill()
    assert pair.events(1) == [["left", "hello/a", other]]


def test_the_first_answer_of_a_new_beacon_has_what_is_in_etcd(pair: Pair, place: Path) -> None:
    pair.a.call("advertise", "hello/a", ":80")
    lists(pair.b, {"hello/a"}, "found through etcd")
    pair.machines[1].command("stop")
    assert [name for name, _ in pair.machines[1].call("discover_all")] == ["hello/a"]


def test_messages_go_to_what_was_found_through_etcd(pair: Pair) -> None:
    address = pair.a.call("advertise", "hello/a")
    assert pair.b.call("discover", "hello/a", 20) == address
    pair.a.begin("echo", address, 1)
    assert pair.b.call("send_message_to", address, "hello", 20) == "hello"
    assert pair.a.end() == 1


def test_a_thousand_adverts_come_and_go(pair: Pair) -> None:
    for number in range(1000):
        pair.a.call("advertise", f"lamp/{number}", ":80")
    lists(pair.b, {f"lamp/{number}" for number in range(1000)}, "all of them", 30)
    pair.a.kill()
    lists(pair.b, set(), "all gone", 30)


def test_a_beacon_that_ends_takes_its_adverts_with_it(pair: Pair) -> None:
    pair.a.call("advertise", "a")
    lists(pair.b, {"a"}, "found")
    pair.a.finish()
    pair.machines[0].command("stop")
    lists(pair.b, set(), "gone")
    assert pair.etcd.ctl("get", "nwdisco", "--prefix") == ""


def test_a_beacon_killed_is_replaced_and_its_adverts_stay_listed(pair: Pair) -> None:
    pair.a.call("advertise", "lamp/a", "127.0.0.1:7")
    pair.b.call("watch", "lamp")
    lists(pair.b, {"lamp/a"}, "found")
    before = keys(pair.etcd)
    os.kill(pair.machines[0].beacon_pid(), signal.SIGKILL)
    wait_until(lambda: len(keys(pair.etcd)) == 2, "the new beacon has registered it too")
    wait_until(lambda: len(keys(pair.etcd)) == 1, "the lease of the old one has ended")
    assert keys(pair.etcd) != before
    pair.a.call("unadvertise", "lamp/a")
    assert [kind for kind, *_ in pair.events(2)] == ["joined", "left"], "nothing happened in between"


def keys(etcd: Etcd) -> list[str]:
    return etcd.ctl("get", "nwdisco", "--prefix", "--keys-only").split()


# --- etcd fails ---


def test_etcd_killed_and_started_again_is_in_step_again(pair: Pair, record_property: Any) -> None:
    pair.a.call("advertise", "before", ":1")
    lists(pair.b, {"before"}, "found")
    pair.etcd.kill()
    pair.a.call("advertise", "meanwhile", ":2")
    lists(pair.a, {"before", "meanwhile"}, "what is this machine's own is found without etcd")
    pair.etcd.start()
    record_property("back_s", lists(pair.b, {"before", "meanwhile"}, "in step after etcd's return"))


def test_a_paused_etcd_loses_leases_and_all_is_registered_again(pair: Pair, record_property: Any) -> None:
    pair.a.call("advertise", "before", ":1")
    pair.b.call("advertise", "own", ":3")
    lists(pair.b, {"before", "own"}, "found")
    lease = pair.lease()
    pair.etcd.pause()
    try:
        pair.a.call("advertise", "meanwhile", ":2")
        lists(pair.b, {"own"}, "gone when its lease would have ended, and not before its time", 20)
        wait_until(lambda: _seconds_away(pair) > config.ETCD_LEASE_S + 1.0, "away for longer than the lease")
    finally:
        pair.etcd.resume()
    record_property("back_s", lists(pair.b, {"before", "meanwhile", "own"}, "in step after etcd's return"))
    lists(pair.a, {"before", "meanwhile", "own"}, "here too")
    assert pair.lease() != lease


def _seconds_away(pair: Pair) -> float:
    away: float = pair.machines[0].status()["etcd"]["answered_s_ago"]
    return away


def test_what_is_known_stays_while_etcd_is_away_for_less_than_the_lease(pair: Pair) -> None:
    pair.a.call("advertise", "lamp/a", ":1")
    lists(pair.b, {"lamp/a"}, "found")
    pair.b.call("watch", "lamp")
    assert pair.events(1)[0][:2] == ["joined", "lamp/a"]
    pair.etcd.kill()
    pair.etcd.start()
    wait_until(lambda: pair.machines[1].status()["etcd"]["why_not"] is None, "in touch again")
    pair.a.call("unadvertise", "lamp/a")
    assert pair.events(1)[0][:2] == ["left", "lamp/a"], "nothing happened in between"


def test_a_lease_revoked_by_hand_is_replaced_and_everything_registered_again(pair: Pair, record_property: Any) -> None:
    for name in ("a", "b"):
        pair.a.call("advertise", f"hello/{name}", ":1")
    lists(pair.b, {"hello/a", "hello/b"}, "found")
    lease = pair.lease()
    pair.etcd.ctl("lease", "revoke", f"{lease:x}")
    began_at = time.monotonic()
    wait_until(lambda: pair.lease() != lease, "another lease")
    lists(pair.b, {"hello/a", "hello/b"}, "registered again")
    record_property("back_s", time.monotonic() - began_at)
    plain = pair.etcd.ctl("get", "hello/", "--prefix", "--keys-only").split()
    assert plain == [f"hello/{pair.lease()}", f"hello/{pair.lease()}-2"]


def test_an_etcd_that_lost_its_data_is_filled_again(pair: Pair) -> None:
    pair.a.call("advertise", "a", ":1")
    lists(pair.b, {"a"}, "found")
    pair.etcd.kill()
    pair.etcd.forget_everything()
    pair.etcd.start()
    wait_until(lambda: "nwdisco/adverts/" in pair.etcd.ctl("get", "nwdisco", "--prefix"), "registered again")
    lists(pair.b, {"a"}, "found again")


def test_after_etcd_is_restored_from_a_backup_it_has_what_is_advertised_now(pair: Pair) -> None:
    pair.a.call("advertise", "hello/stays", ":1")
    pair.a.call("advertise", "hello/goes", ":2")
    lists(pair.b, {"hello/stays", "hello/goes"}, "found")
    pair.etcd.back_up()
    pair.a.call("advertise", "hello/comes", ":3")
    pair.a.call("unadvertise", "hello/goes")
    pair.a.call("advertise", "hello/stays", ":4")
    lists(pair.b, {"hello/stays", "hello/comes"}, "found")
    pair.etcd.restore()

    def is_there() -> bool:
        kept = [key.rpartition("/")[2] for key in keys(pair.etcd)]
        return kept == ["comes", "stays"] and ":4" in pair.etcd.ctl("get", "nwdisco", "--prefix")

    wait_until(is_there, "etcd has it")
    lists(pair.b, {"hello/stays", "hello/comes"}, "the other machine knows it")
    plain = pair.etcd.ctl("get", "hello/", "--prefix", "--keys-only").split()
    assert plain == [f"hello/{pair.lease()}", f"hello/{pair.lease()}-2"]
    assert "restored from a backup" in (pair.machines[0].runtime_dir / "beacon.log").read_text()


def test_an_etcd_that_comes_later_than_the_beacons_is_used(place: Path, etcd: Etcd) -> None:
    etcd.kill()
    pair = Pair(place, etcd)
    try:
        pair.a.call("advertise", "a", ":1")
        lists(pair.a, {"a"}, "found on its own machine")
        assert "does not answer" in pair.machines[0].status()["etcd"]["why_not"]
        etcd.start()
        lists(pair.b, {"a"}, "found on the other")
    finally:
        pair.close()


def test_an_etcd_that_takes_no_more_is_read_on_and_said_so_once(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, etcd: Etcd
) -> None:
    etcd.kill()
    monkeypatch.setenv("ETCD_QUOTA_BACKEND_BYTES", "1000000")
    etcd.start()
    pair = Pair(place, etcd)
    try:
        pair.a.call("advertise", "before", ":1")
        lists(pair.b, {"before"}, "found")
        with suppress(AssertionError):  # what etcdctl says when etcd is full
            for number in range(100):
                etcd.ctl("put", f"junk/{number}", "x" * 100_000)
        assert "NOSPACE" in etcd.ctl("alarm", "list")
        pair.a.call("advertise", "after", ":2")
        status = pair.machines[0].status
        wait_until(lambda: "space exceeded" in str(status()["etcd"]["why_not"]), "it says why")
        answered = time.monotonic()
        wait_until(lambda: time.monotonic() - status()["etcd"]["answered_s_ago"] > answered + 3.0, "renewed since")
        assert "space exceeded" in status()["etcd"]["why_not"]
        log = (pair.machines[0].runtime_dir / "beacon.log").read_text()
        assert log.count("space exceeded") == 1
        lists(pair.b, {"before"}, "what it has already is not lost")
        etcd.ctl("del", "junk/", "--prefix")
        etcd.ctl("compact", str(etcd.revision()))
        etcd.ctl("defrag")
        etcd.ctl("alarm", "disarm")
        lists(pair.b, {"before", "after"}, "written when there is room again")
        assert status()["etcd"]["why_not"] is None
    finally:
        pair.close()


# --- a beacon stands still ---


def test_a_beacon_that_stood_still_for_longer_than_a_lease_knows_everything_again(pair: Pair) -> None:
    pair.a.call("advertise", "hello/a", ":1")
    pair.b.call("advertise", "own", ":2")
    lists(pair.b, {"hello/a", "own"}, "found")
    stopped = pair.machines[1].beacon_pid()
    own = "nwdisco/adverts/" + pair.machines[1].status()["node"]
    wait_until(lambda: pair.etcd.ctl("get", own, "--prefix"), "it has something in etcd")
    os.kill(stopped, signal.SIGSTOP)
    try:
        wait_until(lambda: not pair.etcd.ctl("get", own, "--prefix"), "its lease has ended")
    finally:
        os.kill(stopped, signal.SIGCONT)
    lists(pair.b, {"hello/a", "own"}, "what others have is known again, though they said nothing new")
    lists(pair.a, {"hello/a", "own"}, "and what it has is registered again")


# --- the plain way ---


def test_a_program_that_knows_etcd_only_is_found_and_finds_us(pair: Pair) -> None:
    granted = pair.etcd.ctl("lease", "grant", "600").split()[1]
    lease = int(granted, 16)
    pair.etcd.ctl("put", f"hello/{lease}", "remote_host:1234", f"--lease={granted}")
    for program in (pair.a, pair.b):
        assert program.call("discover", f"hello/{lease}", 20) == "remote_host:1234"
    address = pair.a.call("advertise", "hello/ours")
    wait_until(lambda: address in pair.etcd.ctl("get", "hello", "--prefix", "--print-value-only").split(), "written")
    assert pair.etcd.ctl("get", f"hello/{pair.lease()}", "--print-value-only").strip() == address
    lists(pair.b, {f"hello/{lease}", "hello/ours"}, "each once")
    pair.etcd.ctl("lease", "revoke", granted)
    lists(pair.b, {"hello/ours"}, "the other has left")
    pair.a.kill()
    wait_until(lambda: pair.etcd.ctl("get", "hello", "--prefix") == "", "ours has left")


def test_a_watch_with_etcdctl_sees_ours_come_and_go(pair: Pair) -> None:
    with pair.etcd.watching("hello", "--prefix") as watch:
        address = pair.a.call("advertise", "hello/ours")
        key = f"hello/{pair.lease()}"
        assert [watch.line() for _ in range(3)] == ["PUT", key, address]
        pair.a.kill()
        assert [watch.line() for _ in range(2)] == ["DELETE", key]


def test_what_is_foreign_or_broken_under_the_prefix_is_left_out_with_a_warning(pair: Pair) -> None:
    for key, value in {
        "nwdisco/adverts/x": "1",
        "nwdisco/adverts/nodeBBBB/a": "no JSON",
        "nwdisco/elsewhere": "ignored, for it is another's",
        "hello/5": "no address",
    }.items():
        pair.etcd.ctl("put", key, value)
    pair.a.call("advertise", "fine", ":1")
    lists(pair.b, {"fine"}, "what is fine")
    wait_until(lambda: pair.machines[1].status()["etcd"]["dropped"].get("refused") == 3, "counted")
    assert "left out" in (pair.machines[1].runtime_dir / "beacon.log").read_text()


# --- said at the start ---


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (("--etcd", "nonsense:port"), "HOST:PORT"),
        (("--etcd", "host:66554"), "HOST:PORT"),
        (("--etcd", "https://a:1,b:2"), "all with https:// or none"),
        (("--etcd", "a:1", "--etcd-plain", "a/b"), "without a slash"),
        (("--etcd", "a:1", "--etcd-plain", "nwdisco"), "names of services"),
    ],
)
def test_a_setting_that_is_none_is_refused_with_a_reason(
    machine: Machine, arguments: tuple[str, ...], reason: str
) -> None:
    done = machine.command("beacon", *arguments)
    assert done.returncode == 2
    assert reason in done.stderr


def test_what_is_wrong_with_etcd_is_in_the_status(machine: Machine) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        machine.env["NWDISCO_ETCD"] = f"127.0.0.1:{silent.getsockname()[1]}"
        program = machine.program()
        program.call("advertise", "a", ":1")
        wait_until(lambda: machine.status()["etcd"]["why_not"], "the reason")
        assert "does not answer" in machine.command("status").stdout
        assert program.call("discover", "a")
