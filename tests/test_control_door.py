"""The control door against programs that speak its protocol badly, or not at all: raw bytes on a real beacon's socket.

Whatever they send, the beacon counts it, drops it, and serves everybody else. The counters are those of `nwdisco status`.
"""

from __future__ import annotations

import json
import resource
import socket
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Thread
from typing import Any

import pytest

from nwdisco import config
from tests.conftest import free_udp_port
from tests.machines import DEADLINE_S, Machine, wait_until

GREETING = b"nwdisco-control 1\n"
LIST = b'{"do":"list"}\n'
STATUS = b'{"do":"status"}\n'


class Raw:
    """A connection to the door that sends whatever it is told."""

    def __init__(self, door: Path, *parts: bytes) -> None:
        self.end = socket.socket(socket.AF_UNIX)
        self.end.connect(str(door))
        self.end.settimeout(DEADLINE_S)
        self._lines = self.end.makefile("rb")
        for part in parts:
            self.send(part)

    def send(self, data: bytes) -> None:
        self.end.sendall(data)

    def line(self) -> Any:
        """The next answer; None at the end of the connection."""
        try:
            line = self._lines.readline()
        except ConnectionResetError:  # it closed the connection without reading all that was sent
            return None
        return json.loads(line) if line else None

    def close(self) -> None:
        self._lines.close()
        self.end.close()

    def __enter__(self) -> Raw:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Door:
    """The door of one beacon for all tests of this module; counters are those since the test began."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        self.path = machine.runtime_dir / "beacon.sock"
        self.pid: int = self.status()["pid"]
        self._counters_before: dict[str, int] = self.status()["control"]

    def raw(self, *parts: bytes) -> Raw:
        return Raw(self.path, *parts)

    def status(self) -> dict[str, Any]:
        with self.raw(GREETING, STATUS) as raw:
            answer: dict[str, Any] = raw.line()
            return answer

    def counted(self) -> dict[str, int]:
        before = self._counters_before
        counters: dict[str, int] = self.status()["control"]
        return {what: count - before.get(what, 0) for what, count in counters.items() if count != before.get(what, 0)}

    def check_still_serves(self) -> None:
        with self.raw(GREETING, b'{"do":"advertise","name":"still/here","address":":80"}\n') as raw:
            assert raw.line() == {"address": "127.0.0.1:80"}
            with self.raw(GREETING, b'{"do":"discover","name":"still/here"}\n') as other:
                assert other.line() == {"address": "127.0.0.1:80"}

    def check_nothing_is_left(self) -> None:
        wait_until(lambda: self.status()["programs"] == 1, "the end of all connections but the one that asks")
        status = self.status()
        assert status["adverts"] == 0
        assert status["pid"] == self.pid, "the beacon was replaced"
        assert "Traceback" not in (self.machine.runtime_dir / "beacon.log").read_text()


@pytest.fixture(scope="module")
def beacon() -> Iterator[Machine]:
    with TemporaryDirectory(prefix="nwd-") as place:
        machine = Machine(Path(place) / "m", NWDISCO_INTERFACES="lo", NWDISCO_PORT=str(free_udp_port()))
        machine.call("discover_all")
        yield machine
        machine.close()


@pytest.fixture
def door(beacon: Machine) -> Iterator[Door]:
    """Whatever a test sends: after it the beacon serves, complains of nothing and holds nothing."""
    door = Door(beacon)
    yield door
    door.check_still_serves()
    door.check_nothing_is_left()


# --- what is no greeting ---


@pytest.mark.parametrize(
    "sent",
    [b"\n", b"hello\n", b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", b"\xff\xfe\x00\n", b"nwdisco-control\n", LIST, STATUS],
    ids=["nothing", "hello", "http", "binary", "half", "list", "status"],
)
def test_without_the_greeting_the_connection_is_refused_and_counted(door: Door, sent: bytes) -> None:
    with door.raw(sent) as raw:
        refusal = raw.line()
        assert refusal["error"] == "bad_request"
        assert "nwdisco-control 1" in refusal["message"]
        assert raw.line() is None
    assert door.counted() == {"malformed": 1}


@pytest.mark.parametrize("version", [b"0", b"2", b"1.1", b" 1", b"x", b""])
def test_another_version_is_told_what_to_do(door: Door, version: bytes) -> None:
    with door.raw(b"nwdisco-control " + version + b"\n" + LIST) as raw:
        refusal = raw.line()
        assert refusal["error"] == "version"
        assert f"end it (process {door.pid})" in refusal["message"]
        assert raw.line() is None
    assert door.counted() == {"malformed": 1}


def test_who_says_nothing_costs_nothing_and_is_forgotten_when_gone(door: Door) -> None:
    with door.raw(), door.raw(b"nwdisco"), door.raw(GREETING):
        wait_until(lambda: door.status()["programs"] == 4, "three silent programs and the one that asks")
    wait_until(lambda: door.status()["programs"] == 1, "the end of the silent ones")


# --- what is no request ---

BAD_REQUESTS = {
    "nothing": b"",
    "no JSON": b"garbage",
    "half of JSON": b'{"do":"list"',
    "two in a line": b'{"do":"list"}{"do":"list"}',
    "binary": bytes(range(11, 256)),
    "not UTF-8": b'{"do":"discover","name":"\xff\xfe"}',
    "half a character": b'{"do":"discover","name":"\\ud800"}',
    "NUL": b"\0" * 50,
    "a number": b"7",
    "a list": b'["list"]',
    "null": b"null",
    "no `do`": b'{"name":"x"}',
    "unknown": b'{"do":"explode"}',
    "`do` is no text": b'{"do":7}',
    "no name": b'{"do":"discover"}',
    "name is a number": b'{"do":"discover","name":7}',
    "name is null": b'{"do":"advertise","name":null,"address":":1"}',
    "address is a number": b'{"do":"advertise","name":"x","address":8080}',
    "properties are a list": b'{"do":"advertise","name":"x","address":":1","properties":["a"]}',
    "a property is a number": b'{"do":"advertise","name":"x","address":":1","properties":{"a":1}}',
    "ttl is text": b'{"do":"advertise","name":"x","address":":1","ttl_s":"5"}',
    "age is negative": b'{"do":"advertise","name":"x","address":":1","age_s":-1}',
    "wait is negative": b'{"do":"discover","name":"x","wait_s":-0.1}',
    "wait is no number": b'{"do":"discover","name":"x","wait_s":NaN}',
    "wait is too large a number": b'{"do":"discover","name":"x","wait_s":1e999}',
    "group is a number": b'{"do":"list","group":7}',
    "exclude is text": b'{"do":"list","group":"g","exclude":"x"}',
    "10,000 lists deep": b'{"do":"list","x":' + b"[" * 10_000 + b"]" * 10_000 + b"}",
    "10,000 objects deep": b'{"a":' * 10_000 + b"1" + b"}" * 10_000,
    "10,000 open ends": b"[" * 10_000,
}


@pytest.mark.parametrize("request_", BAD_REQUESTS.values(), ids=BAD_REQUESTS.keys())
def test_a_malformed_request_is_refused_and_counted_and_the_next_one_served(door: Door, request_: bytes) -> None:
    with door.raw(GREETING + request_ + b"\n" + LIST) as raw:
        refusal = raw.line()
        assert refusal["error"] == "bad_request"
        assert refusal["message"].startswith("this is no request")
        assert len(refusal["message"]) < 300
        assert raw.line() == {"adverts": []}
    assert door.counted() == {"malformed": 1}
    assert door.status()["adverts"] == 0


BAD_ADVERTS = {
    "empty name": {"name": ""},
    "long name": {"name": "n" * 256},
    "long name in UTF-8": {"name": "é" * 128},
    "line break": {"name": "a\nb"},
    "terminal control": {"name": "a\x1b[2Jb"},
    "empty address": {"address": ""},
    "long address": {"address": "1" * 300},
    "address with a line break": {"address": "1.2.3.4:80\n"},
    "picked, port 0": {"address": ":0"},
    "picked, port out of range": {"address": ":65536"},
    "picked, no port": {"address": ":"},
    "picked, port is a word": {"address": ":http"},
    "picked, two colons": {"address": "::1"},
    "large properties": {"properties": {"a": "x" * 700}},
    "property without a name": {"properties": {"": "x"}},
    "ttl too short": {"ttl_s": 0.5},
    "ttl too long": {"ttl_s": 1e6},
    "ttl negative": {"ttl_s": -5},
}


@pytest.mark.parametrize("wrong", BAD_ADVERTS.values(), ids=BAD_ADVERTS.keys())
def test_an_advert_that_cannot_be_is_refused_and_counted_and_nothing_is_half_done(
    door: Door, wrong: dict[str, Any]
) -> None:
    request = {"do": "advertise", "name": "x", "address": ":80", **wrong}
    with door.raw(GREETING + json.dumps(request).encode() + b"\n" + LIST) as raw:
        refusal = raw.line()
        assert refusal["error"] == "bad_advert"
        assert len(refusal["message"]) < 500
        assert raw.line() == {"adverts": []}
    assert door.counted() == {"bad_advert": 1}


def test_an_advert_as_old_as_can_be_said_is_an_advert(door: Door) -> None:
    with door.raw(GREETING, b'{"do":"advertise","name":"x","address":":80","age_s":1e308}\n', LIST) as raw:
        assert raw.line() == {"address": "127.0.0.1:80"}
        assert raw.line()["adverts"][0][:2] == ["x", "127.0.0.1:80"]
        assert door.status()["lan"].get("malformed", 0) == 0, "what this beacon sends is malformed"


def test_elements_that_a_later_version_may_add_are_ignored(door: Door) -> None:
    with door.raw(GREETING, b'{"do":"list","colour":"red"}\n') as raw:
        assert raw.line() == {"adverts": []}


# --- too much ---


@pytest.mark.parametrize("end", [b"", b"\n", b'"}\n'], ids=["no end", "an end", "a whole request"])
def test_a_line_of_100_kb_is_refused_and_counted_and_ends_the_connection(door: Door, end: bytes) -> None:
    with door.raw(GREETING) as raw:
        with suppress(OSError):  # the door may close before it took all
            raw.send(b'{"do":"list","x":"' + b"x" * 100_000 + end)
        refusal = raw.line()
        assert refusal["error"] == "bad_request"
        assert f"{config.MAX_CONTROL_LINE} bytes" in refusal["message"]
        assert raw.line() is None
    assert door.counted() == {"malformed": 1}


def test_a_greeting_of_100_kb_is_refused_and_counted(door: Door) -> None:
    with door.raw(b"x" * 100_000) as raw:
        assert raw.line()["error"] == "bad_request"
        assert raw.line() is None
    assert door.counted() == {"malformed": 1}


def test_a_line_just_within_the_limit_is_served(door: Door) -> None:
    frame = len(b'{"do":"list","x":""}')
    with door.raw(GREETING, b'{"do":"list","x":"' + b"x" * (config.MAX_CONTROL_LINE - frame) + b'"}\n') as raw:
        assert raw.line() == {"adverts": []}


def test_what_follows_a_waiting_request_is_served_in_its_order(door: Door) -> None:
    waiting = b'{"do":"discover","name":"x","wait_s":null}\n'
    advertise = b'{"do":"advertise","name":"x","address":":80"}\n'
    with door.raw(GREETING, waiting, LIST * 100) as raw, door.raw(GREETING, advertise) as other:
        assert other.line() == {"address": "127.0.0.1:80"}
        assert raw.line() == {"address": "127.0.0.1:80"}
        for _ in range(100):
            assert [advert[0] for advert in raw.line()["adverts"]] == ["x"]


def test_what_follows_a_waiting_request_is_bounded(door: Door) -> None:
    with door.raw(GREETING, b'{"do":"discover","name":"x","wait_s":null}\n') as raw:
        with suppress(OSError):  # the door closes before it took all
            for _ in range(100):
                raw.send(LIST * 1000)
        assert raw.line()["error"] == "bad_request"
        assert raw.line() is None
    assert door.counted() == {"malformed": 1}


# --- how it arrives ---


def test_byte_by_byte_is_as_good_as_at_once(door: Door) -> None:
    with door.raw() as raw:
        for byte in GREETING + b'{"do":"advertise","name":"slow","address":":80"}\n' + LIST:
            raw.send(bytes([byte]))
        assert raw.line() == {"address": "127.0.0.1:80"}
        assert [advert[0] for advert in raw.line()["adverts"]] == ["slow"]
    assert door.counted() == {}


def test_two_requests_in_one_packet_are_answered_in_their_order(door: Door) -> None:
    first, second = b'{"do":"advertise","name":"x","address":":80"}\n', b'{"do":"discover","name":"x"}\n'
    with door.raw(GREETING + first + second + LIST) as raw:
        assert raw.line() == {"address": "127.0.0.1:80"}
        assert raw.line() == {"address": "127.0.0.1:80"}
        assert [advert[0] for advert in raw.line()["adverts"]] == ["x"]


@pytest.mark.parametrize("request_", [LIST, STATUS, b'{"do":"discover","name":"nobody"}\n', b"garbage\n"])
def test_four_thousand_requests_at_once_are_all_answered(door: Door, request_: bytes) -> None:
    with door.raw() as raw:
        sending = Thread(target=raw.send, args=(GREETING + request_ * 4000,))
        sending.start()
        first = raw.line()
        for _ in range(3999):
            assert raw.line().keys() == first.keys()
        sending.join()


def test_a_half_closed_connection_gets_its_answers_and_its_advert_ends(door: Door) -> None:
    with door.raw(GREETING + b'{"do":"advertise","name":"half","address":":80"}\n' + LIST) as raw:
        raw.end.shutdown(socket.SHUT_WR)
        assert raw.line() == {"address": "127.0.0.1:80"}
        assert [advert[0] for advert in raw.line()["adverts"]] == ["half"]
        assert raw.line() is None
        wait_until(lambda: door.status()["adverts"] == 0, "the end of the half-closed program's advert")


@pytest.mark.parametrize("cut", [5, len(GREETING), len(GREETING) + 10, -1])
def test_a_connection_that_ends_in_the_middle_leaves_nothing(door: Door, cut: int) -> None:
    whole = GREETING + b'{"do":"advertise","name":"cut","address":":80"}\n'
    with door.raw(whole[:cut]):
        pass
    wait_until(lambda: door.status()["programs"] == 1, "the end of the connection")
    assert door.status()["adverts"] == 0


# --- the order of what happens ---


def test_who_answers_an_event_at_once_does_not_turn_round_what_others_hear(door: Door) -> None:
    """A program that waited for a name has the next request, a newer advert of that name, ready in the same packet."""
    advertise = b'{"do":"advertise","name":"x","address":":%d"}\n'
    with door.raw(GREETING, b'{"do":"watch"}\n') as watcher:
        assert watcher.line() == {"there": []}
        with door.raw(GREETING, b'{"do":"discover","name":"x","wait_s":null}\n' + advertise % 2) as hasty:
            wait_until(lambda: door.status()["programs"] == 3, "the hasty program")
            with door.raw(GREETING, advertise % 1) as first:
                assert first.line() == {"address": "127.0.0.1:1"}
                assert hasty.line() == {"address": "127.0.0.1:1"}
                assert hasty.line() == {"address": "127.0.0.1:2"}
                heard = [watcher.line() for _ in range(2)]
    assert [(e["event"], e["advert"][1]) for e in heard] == [("joined", "127.0.0.1:1"), ("changed", "127.0.0.1:2")]


def test_a_watch_that_goes_on_talking_is_not_listened_to(door: Door) -> None:
    with door.raw(GREETING, b'{"do":"watch"}\n', b'{"do":"advertise","name":"x","address":":80"}\n' * 10) as watcher:
        assert watcher.line() == {"there": []}
        with door.raw(GREETING, b'{"do":"advertise","name":"y","address":":80"}\n') as other:
            assert other.line() == {"address": "127.0.0.1:80"}
            assert watcher.line()["advert"][0] == "y"


# --- who does not read ---


def advertise_many(holder: Raw, count: int) -> None:
    """So many adverts of 700 bytes each."""
    filler = b'"properties":{"filler":"' + b"x" * 600 + b'"}'
    for number in range(count):
        holder.send(b'{"do":"advertise","name":"lamp/%04d","address":":80",%s}\n' % (number, filler))
        assert holder.line() == {"address": "127.0.0.1:80"}


def memory_mb(pid: int) -> float:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * 4096 / 1e6


def test_a_watcher_that_never_reads_is_cut_off_and_others_hear_everything(door: Door) -> None:
    change = b'{"do":"advertise","name":"x","address":":%d","properties":{"filler":"' + b"x" * 600 + b'"}}\n'
    changes = config.MAX_WATCH_BACKLOG // 700 + 1000
    before_mb = memory_mb(door.pid)
    with (
        door.raw(GREETING, b'{"do":"watch"}\n') as deaf,
        door.raw(GREETING, b'{"do":"watch"}\n') as good,
        door.raw(GREETING) as talker,
    ):
        assert deaf.line() == {"there": []}
        assert good.line() == {"there": []}
        for number in range(changes):
            port = number % 60_000 + 1
            talker.send(change % port)
            assert talker.line() == {"address": f"127.0.0.1:{port}"}
            assert good.line()["advert"][1] == f"127.0.0.1:{port}"
        assert door.counted() == {"slow_watcher": 1}
        assert door.status()["programs"] == 3, "the deaf watcher is still held"
        assert memory_mb(door.pid) - before_mb < 3 * config.MAX_WATCH_BACKLOG / 1e6


def test_a_program_that_asks_and_never_reads_takes_no_memory_and_others_are_served(door: Door) -> None:
    with door.raw(GREETING) as holder, door.raw(GREETING) as deaf:
        advertise_many(holder, 300)  # a list of them takes 200 kB
        before_mb = memory_mb(door.pid)
        deaf.end.setblocking(False)
        sent = 0
        with suppress(BlockingIOError):  # nothing more is taken from it
            while sent < 5_000_000:
                sent += deaf.end.send(LIST * 1000)
        assert sent > 10_000, "so many lists that all their answers take 150 MB"
        door.check_still_serves()
        assert memory_mb(door.pid) - before_mb < 20
        deaf.end.settimeout(DEADLINE_S)
        for _ in range(100):
            assert len(deaf.line()["adverts"]) == 300, "once it reads, it gets its answers"


def test_a_program_that_never_read_its_answers_is_forgotten_when_it_ends(door: Door) -> None:
    with door.raw(GREETING) as holder:
        advertise_many(holder, 300)
        with door.raw(GREETING, b'{"do":"advertise","name":"deaf","address":":80"}\n', LIST * 50):
            wait_until(lambda: door.status()["adverts"] == 301, "the deaf program's advert")
        wait_until(lambda: door.status()["adverts"] == 300, "the end of the deaf program's advert")


def test_the_list_that_a_watch_begins_with_is_no_backlog(door: Door) -> None:
    """A watcher that takes its time for a long list is not cut off by the next event."""
    count = config.MAX_WATCH_BACKLOG // 600 + 1000
    with door.raw(GREETING) as holder:
        advertise_many(holder, count)
        with door.raw(GREETING, b'{"do":"watch"}\n') as slow:
            wait_until(lambda: door.status()["programs"] == 3, "the slow watcher")
            for name in (b"lamp/0000", b"lamp/0001"):
                holder.send(b'{"do":"unadvertise","name":"%s"}\n' % name)
                assert holder.line() == {"was_there": True}
            assert len(slow.line()["there"]) == count
            assert slow.line()["advert"][0] == "lamp/0000"
            assert slow.line()["advert"][0] == "lamp/0001"
    assert door.counted() == {}


# --- many ---


@pytest.fixture
def many_files() -> Iterator[None]:
    """More open files for this process, and for nobody else."""
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(limits[1], 10_000), limits[1]))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, limits)


@pytest.mark.usefixtures("many_files")
def test_a_thousand_connections_at_once_are_served_and_let_go(door: Door) -> None:
    with ExitStack() as ends:
        raws = [ends.enter_context(door.raw()) for _ in range(1000)]
        for number, raw in enumerate(raws):
            raw.send(GREETING + b'{"do":"advertise","name":"c/%d","address":":80"}\n' % number)
        for raw in raws:
            assert raw.line() == {"address": "127.0.0.1:80"}
        status = door.status()
        assert status["programs"] == 1001
        assert status["adverts"] == 1000
        door.check_still_serves()


@pytest.mark.usefixtures("many_files")
def test_past_the_limit_of_connections_the_next_is_told_so_and_room_comes_back(door: Door) -> None:
    with ExitStack() as ends:
        for _ in range(config.MAX_CONTROL_CONNECTIONS):
            ends.enter_context(door.raw(GREETING))
        last = ends.enter_context(door.raw())
        refusal = last.line()
        assert refusal["error"] == "over_limit"
        assert str(config.MAX_CONTROL_CONNECTIONS) in refusal["message"]
        assert last.line() is None

    def has_room() -> bool:
        with door.raw(GREETING, LIST) as raw:
            answer: dict[str, Any] = raw.line()
            return answer == {"adverts": []}

    wait_until(has_room, "room for the next")
    assert door.counted().keys() == {"over_limit"}


def test_the_command_shows_the_counters(door: Door) -> None:
    with door.raw(GREETING, b"garbage\n" * 2, b'{"do":"advertise","name":"","address":":1"}\n') as raw:
        assert [raw.line()["error"] for _ in range(3)] == ["bad_request", "bad_request", "bad_advert"]
    counters = door.machine.status()["control"]
    assert door.counted() == {"malformed": 2, "bad_advert": 1}
    shown = door.machine.command("status").stdout
    assert f"{counters['malformed']} malformed" in shown
    assert f"{counters['bad_advert']} bad_advert" in shown
