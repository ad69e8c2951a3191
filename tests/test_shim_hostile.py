"""The TCP door against clients that speak badly, slowly, too much or not at all: others are served, memory is bounded."""

from __future__ import annotations

import json
import socket
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from threading import Thread

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.machines import DEADLINE_S, wait_until
from tests.shim import (
    FILLER,
    MAX_CONNECTIONS,
    MAX_CONTENT,
    MAX_HEADER,
    MAX_LINE,
    MAX_REGISTRATIONS,
    MESSAGE_LIMIT_S,
    NOTHING,
    QUERY,
    QUERY_LINE,
    Program,
    Shim,
    Wire,
    ask_much_and_never_read,
    flood,
    frame,
    many_files,
    packed,
    refusal,
    running_shim,
    timed,
)


@pytest.fixture(scope="module")
def held() -> Iterator[Shim]:
    with running_shim() as shim:
        yield shim


@pytest.fixture
def shim(held: Shim) -> Iterator[Shim]:
    """Whatever a test sends: after it the door serves both dialects, and holds no connection."""
    yield held
    held.check_serves()
    wait_until(lambda: held.status()["connections"] == 0, "the end of all connections")


@pytest.fixture
def own_shim() -> Iterator[Shim]:
    with running_shim() as shim:
        yield shim
        shim.check_serves()


def deep(levels: int) -> bytes:
    return b"[" * levels + b"]" * levels


def deep_object(levels: int) -> bytes:
    return b'{"a":' * levels + b"1" + b"}" * levels


# --- framed: what is no request ---

HEADER = {"byteorder": "little", "content-type": "text/json", "content-encoding": "utf-8", "content-length": 2}
WHOLE = json.dumps(HEADER).encode()
CONTENT = json.dumps(QUERY).encode()
BAD_FRAMES = {
    **{f"no {field}": frame(QUERY, {field: None}) for field in HEADER},
    **{
        f"content-length {length}": packed(WHOLE.replace(b": 2}", b": %s}" % length.encode()), CONTENT + b" ")
        for length in (
            *(
                str(MAX_CONTENT + 1),
                "1000000000",
                "1" + "0" * 300,
                "1e999",
                "-1",
                "-1" + "0" * 300,
                "true",
                "null",
                "NaN",
            ),
            *(form % len(CONTENT) for form in ('"%d"', "%d.0", "%d.5", "[%d]")),
        )
    },
    **{
        f"encoding {encoding}": frame(QUERY, {"content-encoding": encoding})
        for encoding in ("klingon-8", "", "zlib", "rot13", "hex", "undefined", "x" * 500, "../etc", "a\0b", 7, [""])
    },
    "header of another length": (50).to_bytes(2, "big") + WHOLE + b"{}",
    "no header": packed(b"", b"{}"),
    "header that is no JSON": packed(b"garbage"),
    "header that is a list": packed(b"[]"),
    "header that is null": packed(b"null"),
    "header that is not UTF-8": packed(WHOLE.replace(b"utf-8", b"\xff\xfe"), b"{}"),
    "header 1,000 deep": packed(deep(1000)),
    "header of objects, deep": packed(deep_object(300)),
    "header 20,000 deep": packed(deep(20_000)),
    "header 40,000 open ends": packed(b"[" * 40_000),
    "header too long": packed(WHOLE.replace(b": 2}", b": %d}" % len(CONTENT)).ljust(MAX_HEADER + 1), CONTENT),
    "content that is no JSON": frame(b"garbage"),
    "no content": frame(b""),
    "content that is not UTF-8": frame(b'{"action":"query","type":"\xff\xfe"}'),
    "content of half a character": frame(b'{"action":"query","type":"\\ud800"}'),
    "content 4,000 deep": frame(deep(4000)),
    "content 10,000 deep": frame(deep(10_000)),
    "content of objects, deep": frame(deep_object(1300)),
    "content of objects, 10,000 deep": frame(deep_object(10_000)),
    "content whose type is deep": frame(b'{"action":"query","type":' + deep(4000) + b"}"),
    "content too long": frame(CONTENT.ljust(MAX_CONTENT + 1)),
}


@pytest.mark.parametrize("sent", BAD_FRAMES.values(), ids=BAD_FRAMES.keys())
def test_a_frame_that_is_none_is_an_error_with_its_reason(shim: Shim, sent: bytes) -> None:
    with shim.wire(sent) as wire:
        assert wire.answer().error


def test_a_header_and_a_content_just_within_their_limits_are_served(shim: Shim) -> None:
    content = CONTENT.ljust(MAX_CONTENT)
    header = json.dumps({**HEADER, "content-length": MAX_CONTENT}).encode().ljust(MAX_HEADER)
    with shim.wire(packed(header, content)) as wire:
        assert wire.answer().services == []


# --- lines: what is no request ---

BAD_LINES = {
    "no JSON": b"garbage",
    "half of JSON": b'{"type":"query","key":"all"',
    "two in a line": b'{"type":"query","key":"a"}{"type":"query","key":"b"}',
    "not UTF-8": b'{"type":"query","key":"\xff\xfe"}',
    "half a character": b'{"type":"query","key":"\\ud800"}',
    "a line break in a key": b'{"type":"register","key":"a\\nb","values":"x"}',
    "NUL": b"{" + b"\0" * 50,
    "a number": b"7",
    "a text": b'"query"',
    "null": b"null",
    "http": b"GET / HTTP/1.1",
    "4,000 lists deep": deep(4000),
    "1,300 objects deep": deep_object(1300),
    "8,000 open ends": b"[" * 8000,
    "a deep key": b'{"type":"query","key":' + deep(4000) + b"}",
}


@pytest.mark.parametrize("sent", BAD_LINES.values(), ids=BAD_LINES.keys())
def test_a_line_that_is_no_request_is_refused_and_the_next_one_served(shim: Shim, sent: bytes) -> None:
    with shim.wire(QUERY_LINE + sent + b"\r\n" + QUERY_LINE) as wire:
        assert wire.line() == NOTHING
        refusal(wire.line())
        assert wire.line() == NOTHING


@pytest.mark.parametrize(
    "sent",
    [b"{" + b"x" * 1_000_000, b"{" + b"x" * 1_000_000 + b"\r\n" + QUERY_LINE, deep(10_000) + b"\n", b"[" * 10_000],
    ids=["a megabyte and no newline", "a megabyte and a newline", "10,000 deep", "10,000 open ends"],
)
def test_a_line_that_is_too_long_is_told_so_and_ends_the_connection(shim: Shim, sent: bytes) -> None:
    with shim.wire(sent) as wire:  # all of it: who only reads afterwards gets the reason too
        assert f"{MAX_LINE}" in refusal(wire.line()).replace(",", "")
        assert wire.line() is None


def test_a_line_just_within_the_limit_is_served(shim: Shim) -> None:
    with shim.wire(b'{"type":"query","key":"nobody"}'.ljust(MAX_LINE) + b"\n") as wire:
        assert wire.line() == NOTHING


# --- slow ---


def test_who_sends_slowly_or_stops_is_closed_after_a_bounded_time_and_others_are_served_meanwhile(
    shim: Shim, record_property: Callable[[str, object], None]
) -> None:
    whole = frame({"action": "query", "type": "x" * 200})
    line = b'{"type":"query","key":"nobody"' + b" " * 200
    starts = {
        "a line, a byte a second": (b"", line),
        "a frame, a byte a second": (b"", whole),
        "a line after another, a byte a second": (QUERY_LINE, line),
        "half a line, then silence": (line, b""),
        "half a header, then silence": (whole[:20], b""),
        "half a content, then silence": (whole[:-10], b""),
        "one byte, then silence": (b"\0", b""),
        "header length 65535, then silence": (b"\xff\xff", b""),
    }
    ends: dict[str, float] = {}
    took_s = []
    with ExitStack() as stack:
        good = stack.enter_context(shim.wire())
        begun = time.monotonic()
        slow = {what: stack.enter_context(shim.wire(start)) for what, (start, _) in starts.items()}
        received = dict.fromkeys(slow, b"")
        second = 0
        while len(ends) < len(slow):
            now = time.monotonic() - begun
            assert now < MESSAGE_LIMIT_S + DEADLINE_S, f"still open: {slow.keys() - ends.keys()}"
            while second <= now:
                for what, (_, slowly) in starts.items():
                    if what not in ends and slowly:
                        with suppress(OSError):  # just closed
                            slow[what].send(slowly[second : second + 1])
                second += 1
            for what in slow.keys() - ends.keys():
                slow[what].end.setblocking(False)
                with suppress(BlockingIOError):
                    part = slow[what].end.recv(65_536)
                    received[what] += part
                    if not part:
                        ends[what] = time.monotonic() - begun
                slow[what].end.settimeout(DEADLINE_S)
            answer, asked, answered = timed(lambda: good.ask(type="query", key="nobody"))
            assert answer == NOTHING
            took_s.append(answered - asked)
            time.sleep(0.01)
    print("closed after", {what: round(end, 2) for what, end in ends.items()})
    for what, data in received.items():
        if "line" in what:
            refusal(json.loads(data.splitlines()[-1]), "timeout")
        else:
            assert b"ERROR" in data, (what, data)
            assert b'"reason"' in data
    record_property("others waited at the median, ms", statistics.median(took_s) * 1000)
    assert min(end for what, end in ends.items() if "65535" not in what) > MESSAGE_LIMIT_S - 1.5


# --- who does not read ---


def test_a_client_that_asks_much_and_never_reads_takes_no_memory_and_others_are_served(own_shim: Shim) -> None:
    with own_shim.wire() as holder, Wire(own_shim.address, receive_buffer=4096) as deaf:
        ask_much_and_never_read(own_shim, holder, deaf)


def test_watchers_that_never_read_are_cut_off_and_others_hear_everything(own_shim: Shim) -> None:
    changes, deaf_watchers = 4000, 32
    before_mb = own_shim.memory_mb()
    with ExitStack() as stack:
        good, talker = (stack.enter_context(own_shim.wire()) for _ in range(2))
        deaf = [stack.enter_context(Wire(own_shim.address, receive_buffer=4096)) for _ in range(deaf_watchers)]
        for watcher in (good, *deaf):
            assert watcher.ask(type="watch", key="all") == NOTHING
        request = {"type": "register", "key": "x" * 250, "properties": FILLER}
        lines = [json.dumps({**request, "values": f"{number:0240}"}) + "\r\n" for number in range(changes)]
        talking = Thread(target=talker.send, args=("".join(lines).encode(),))
        talking.start()
        for number in range(changes):
            assert good.event() == ("changed" if number else "joined", "x" * 250, f"{number:0240}")
        talking.join()
        grown_mb = own_shim.memory_mb() - before_mb
        own_shim.check_serves()
        told_mb = changes * deaf_watchers * len(lines[0]) / 1e6
        print(f"{told_mb:.0f} MB for those who do not read, {grown_mb:.1f} MB more memory")
        assert grown_mb < 90
        assert own_shim.status()["connections"] < 2 + deaf_watchers, "all are held"


# --- many ---


def test_a_thousand_connections_at_once_are_all_answered(shim: Shim) -> None:
    with many_files(), ExitStack() as stack:
        wires = [stack.enter_context(shim.wire()) for _ in range(1000)]
        wait_until(lambda: shim.status()["connections"] == 1000, "a thousand connections")
        for number, wire in enumerate(wires):
            wire.send(QUERY_LINE if number % 2 else frame(QUERY))
        for number, wire in enumerate(wires):
            if number % 2:
                assert wire.line() == NOTHING
            else:
                assert wire.answer().services == []


def test_past_the_limit_of_connections_the_next_is_told_so_and_room_comes_back(shim: Shim) -> None:
    with many_files():
        with ExitStack() as stack:
            for _ in range(MAX_CONNECTIONS):
                stack.enter_context(shim.wire(b"{"))
            wait_until(lambda: shim.status()["connections"] == MAX_CONNECTIONS, "as many as are taken")
            with shim.wire(QUERY_LINE) as wire:
                assert f"{MAX_CONNECTIONS}" in refusal(wire.line(), "over_limit").replace(",", "")
                assert wire.line() is None
            assert shim.framed(QUERY).error
        wait_until(lambda: shim.status()["connections"] == 0, "room for the next")


def test_registrations_past_the_limit_are_refused_and_everyone_else_is_answered_meanwhile(
    own_shim: Shim, record_property: Callable[[str, object], None]
) -> None:
    own_shim.check_serves()
    before_mb = own_shim.memory_mb()
    with own_shim.wire() as lines, Program(own_shim.machine) as program:
        lines.register("good", "10.0.0.1:80", timeout=600)
        asks: dict[str, Callable[[], bool]] = {
            "line": lambda: lines.names(type="query", key="good") == ["good"],
            "framed": lambda: own_shim.query("good") == [("10.0.0.1", 80)],
            "program": lambda: program.ask(do="discover", name="good") == {"address": "10.0.0.1:80"},
        }

        def answers_to(count: int, dialect: str) -> dict[str, int]:
            """How a flood is answered, during which others are; how quickly, is in the report (--junitxml)."""
            took_ms: dict[str, list[float]] = {who: [] for who in asks}
            with flood(own_shim, count, dialect) as flooding:
                while flooding.poll() is None:
                    for who, ask in asks.items():
                        served, asked, answered = timed(ask)
                        assert served
                        took_ms[who].append((answered - asked) * 1000)
                told: dict[str, int] = json.loads(flooding.communicate()[0])
            assert sum(told.values()) == count
            for who, times in took_ms.items():
                record_property(f"{dialect}: {who}, median ms", statistics.median(times))
                record_property(f"{dialect}: {who}, longest ms", max(times))
            return told

        taken, over = sorted(answers_to(100_000, "lines"), key=len)
        assert json.loads(taken) == {"ok": True}
        assert f"{MAX_REGISTRATIONS}" in refusal(json.loads(over), "over_limit").replace(",", "")
        assert own_shim.status()["registrations"] == MAX_REGISTRATIONS
        (reason,) = answers_to(10_000, "framed")
        assert f"{MAX_REGISTRATIONS}" in reason.replace(",", "")
        grown_mb = own_shim.memory_mb() - before_mb
        print(f"{grown_mb:.0f} MB more memory")
        assert grown_mb < 100
        lines.register("good", "10.0.0.1:80", timeout=600)  # it is there, and renewed
        assert lines.ask(type="destruction", key="flood/000000") == {"ok": True}
        own_shim.register("flood", "10.0.0.1", 80)  # there is room again


# --- anything at all ---

GOOD = [
    QUERY_LINE,
    frame(QUERY),
    b'{"action":"heartbeat","uuid":"x"}\n',
    b'{"type":"register","key":"a","values":"x","timeout":1}\r\n',
    b'{"type":"destruction","key":"a"}\r\n',
    frame({"action": "register", "type": "a", "ip": "127.0.0.1", "port": 80}),
    packed(b"{}", b"{}"),
]
parts = st.one_of(
    st.binary(max_size=200),
    st.sampled_from(GOOD),
    st.builds(lambda good, cut: good[: len(good) * cut // 100], st.sampled_from(GOOD), st.integers(0, 99)),
    st.builds(
        lambda good, at, byte: good[: at % len(good)] + bytes([byte]) + good[at % len(good) + 1 :],
        st.sampled_from(GOOD),
        st.integers(0, 500),
        st.integers(0, 255),
    ),
)


def test_no_bytes_whatever_stop_the_door_from_answering_others(shim: Shim) -> None:
    with shim.wire() as good:

        @settings(max_examples=400, suppress_health_check=list(HealthCheck))
        @given(st.lists(parts, max_size=5))
        def send(sent: list[bytes]) -> None:
            with shim.wire() as wire:
                with suppress(OSError):  # the door may close before it took all
                    for part in sent:
                        wire.send(part)
                    wire.end.shutdown(socket.SHUT_WR)
                with suppress(ConnectionResetError):
                    wire.rest()
            assert good.ask(type="query", key="nobody") == NOTHING

        send()
