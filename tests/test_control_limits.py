"""The control door against too much: lines too long, answers never read, more connections than it has room for.

Each has its bound; past it the program is told so or cut off, the beacon's memory stays small, and others are served.
"""

from __future__ import annotations

import resource
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import pytest

from nwdisco import config
from tests.control_client import GREETING, LIST, Door, Raw, beacon_fixture, door_fixture  # noqa: F401 (fixtures)
from tests.machines import DEADLINE_S, wait_until

# --- too much at once ---


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


def test_what_follows_a_waiting_request_is_bounded(door: Door) -> None:
    with door.raw(GREETING, b'{"do":"discover","name":"x","wait_s":null}\n') as raw:
        with suppress(OSError):  # the door closes before it took all
            for _ in range(100):
                raw.send(LIST * 1000)
        assert raw.line()["error"] == "bad_request"
        assert raw.line() is None
    assert door.counted() == {"malformed": 1}


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
