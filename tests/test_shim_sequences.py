"""The TCP door against the sequences of the two documents that it answers (SEEDS.md 1 and 2), and the promises around them."""

from __future__ import annotations

import json
import threading
import time
import uuid as uuids
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any

import pytest

from tests.machines import wait_until
from tests.shim import (
    GRACE_S,
    LATE_WAIT_S,
    LEASE_S,
    Program,
    Shim,
    Wire,
    answer_in,
    frame,
    fresh,
    refusal,
    running_shim,
    timed,
)

OK = {"ok": True}
UNKNOWN = "00000000-0000-4000-8000-000000000000"


@pytest.fixture(scope="module")
def shim() -> Iterator[Shim]:
    with running_shim() as shim:
        yield shim


@pytest.fixture
def lines(shim: Shim) -> Iterator[Wire]:
    with shim.wire() as wire:
        yield wire


# --- the sequences that are mostly waiting: all at the same time, each with a beacon of its own ---


def documents_sequence(shim: Shim) -> str:
    """LU07.A01: two services, a heartbeat, a port that is none, and queries until the silent service is gone."""
    hive, _, registered = timed(lambda: shim.register("hive", "127.0.0.1", 65433))
    world = shim.register("world", "192.168.99.99", 65438)
    assert uuids.UUID(hive) != uuids.UUID(world)
    assert shim.heartbeat(world) == "OK"
    assert "66554" in shim.framed({"action": "register", "type": "hive", "ip": "127.0.0.1", "port": 66554}).error
    assert shim.query("world") == [("192.168.99.99", 65438)]
    last_s = longest_s = 0.0
    while True:
        found, asked, answered = timed(lambda: shim.query("hive"))
        longest_s = max(longest_s, answered - asked)
        if not found:
            break
        assert found == [("127.0.0.1", 65433)]
        last_s = asked - registered
        assert last_s < LEASE_S, "a query answered a service whose last heartbeat was 5 s old"
        time.sleep(0.01)
    assert last_s > 3, "the document asks again 3 s later"
    assert answered - registered >= LEASE_S - 0.05, "the service was gone before its lease"
    assert longest_s < GRACE_S + 2
    wait_until(lambda: shim.status()["registrations"] == 0, "the end of the grace")
    for name, value in (("uuid", hive), ("service_uuid", hive), ("uuid", UNKNOWN)):
        gone = shim.framed({"action": "heartbeat", name: value})
        assert (gone.text, bool(gone.reason)) == ("NOT FOUND", True)
    return f"last answered {last_s:.3f} s after it registered; a query took {longest_s * 1000:.1f} ms at most"


def articles_sequence(shim: Shim) -> str:
    """Four keys, one of them with a timeout of 5 s, all queried after 5 s, one destroyed."""
    with shim.wire() as lines, shim.wire() as other:
        lines.register("redis1", "123456@127.0.0.1:6379", timeout="30")
        lines.register("mysql1", "root@127.0.0.1:3306", timeout=30)
        lines.register("mysql2", "127.0.0.1:3307")
        _, sent, registered = timed(lambda: lines.register("redis2", "123456@127.0.0.1:6380", timeout="5"))
        assert lines.names() == ["mysql1", "mysql2", "redis1", "redis2"]
        assert lines.ask(type="query", key="redis") == {"ok": True, "services": []}
        (found,) = other.ask(type="query", key="redis1")["services"]
        assert (found["key"], found["values"]) == ("redis1", "123456@127.0.0.1:6379")
        while "redis2" in lines.names():
            assert time.monotonic() - registered < LEASE_S + 10, "that is not its timeout"
            time.sleep(0.01)
        gone = time.monotonic()
        assert gone - sent >= LEASE_S - 0.05, "redis2 was gone before its time"
        time.sleep(max(0.0, registered + LEASE_S - time.monotonic()))
        assert lines.names() == ["mysql1", "mysql2", "redis1"]
        assert lines.ask(type="destruction", key="mysql1") == OK
        assert lines.ask(type="destruction", key="mysql1") == OK
        assert other.names() == ["mysql2", "redis1"]
    assert shim.machine.call("discover", "mysql2", 0) == "127.0.0.1:3307"
    return f"redis2 gone {gone - sent:.3f} s after it was registered"


def flicker(shim: Shim) -> bool:
    """Heartbeats 5.05 and 5.12 s apart, watched and polled; False where this machine was too slow to keep them so."""
    type_, watcher, over = fresh("flicker"), shim.machine.program(), threading.Event()
    watcher.call("watch", type_)
    uuid, sent, _ = timed(lambda: shim.register(type_, "127.0.0.1", 7000))
    assert watcher.call("next_event")[:2] == ["joined", f"{type_}/{uuid}"]

    def poll() -> list[list[tuple[str, int]]]:
        answers = []
        while not over.wait(0.01):
            answers.append(shim.query(type_))
        return answers

    watcher.begin("next_event")
    with ThreadPoolExecutor() as pool:
        polling = pool.submit(poll)
        try:
            for gap_s in (5.05, 5.12):
                time.sleep(max(0.0, sent + gap_s - time.monotonic()))
                answer, began, done = timed(lambda: shim.heartbeat(uuid))
                if done - sent > LEASE_S + LATE_WAIT_S - 0.01:
                    return False
                assert answer == "OK"
                sent = began
        finally:
            over.set()
    answers = polling.result()
    missed = sum(answer != [("127.0.0.1", 7000)] for answer in answers)
    assert (missed, len(answers) > 100) == (0, True), f"{missed} of {len(answers)} queries missed the service"
    with shim.wire() as wire:
        wire.register(f"{type_}/last", "127.0.0.1:1")
        assert watcher.end()[:2] == ["joined", f"{type_}/last"], "the service was reported while it heartbeat"
    return True


def late_heartbeats(shim: Shim) -> str:
    for attempt in range(3):
        if flicker(shim):
            return f"at the {attempt + 1}. attempt"
    raise AssertionError("this machine cannot keep a heartbeat within 0.1 s")


@pytest.fixture(scope="module")
def sequences() -> Iterator[dict[str, Future[str]]]:
    with ExitStack() as stack, ThreadPoolExecutor() as pool:
        yield {
            sequence.__name__: pool.submit(sequence, stack.enter_context(running_shim()))
            for sequence in (documents_sequence, articles_sequence, late_heartbeats)
        }


@pytest.mark.parametrize("name", ["documents_sequence", "articles_sequence"])
def test_the_documents_own_sequence_is_answered_as_it_says(sequences: dict[str, Future[str]], name: str) -> None:
    print(sequences[name].result())


def test_a_service_that_heartbeats_a_little_late_never_flickers(sequences: dict[str, Future[str]]) -> None:
    print(sequences["late_heartbeats"].result())


# --- framed ---


def test_heartbeats_take_both_names_of_the_uuid_and_any_dialect(shim: Shim, lines: Wire) -> None:
    uuid = shim.register(fresh("both"), "127.0.0.1", 7001)
    for name in ("uuid", "service_uuid"):
        answer = shim.framed({"action": "heartbeat", name: uuid})
        assert (answer.text, "reason" in answer.header) == ("OK", False)
        assert lines.ask(action="heartbeat", **{name: uuid}) == OK


@pytest.mark.parametrize(
    "request_",
    [
        {"type": "a", "ip": "127.0.0.1", "port": 80},
        {"action": "explode", "type": "a"},
        {"action": "register", "ip": "127.0.0.1", "port": 80},
        {"action": "register", "type": "", "ip": "127.0.0.1", "port": 80},
        {"action": "register", "type": "a\n", "ip": "127.0.0.1", "port": 80},
        {"action": "register", "type": "a" * 300, "ip": "127.0.0.1", "port": 80},
        {"action": "register", "type": "a", "port": 80},
        {"action": "register", "type": "a", "ip": "300.0.0.1", "port": 80},
        {"action": "register", "type": "a", "ip": "::1", "port": 80},
        {"action": "register", "type": "a", "ip": "somewhere", "port": 80},
        {"action": "register", "type": "a", "ip": 7, "port": 80},
        {"action": "register", "type": "a", "ip": "127.0.0.1"},
        {"action": "register", "type": "a", "ip": "127.0.0.1", "port": 0},
        {"action": "register", "type": "a", "ip": "127.0.0.1", "port": -1},
        {"action": "register", "type": "a", "ip": "127.0.0.1", "port": True},
        {"action": "register", "type": "a", "ip": "127.0.0.1", "port": None},
        {"action": "heartbeat"},
        {"action": "heartbeat", "uuid": 7},
        {"action": "query"},
        {"action": "query", "type": 7},
        ["register"],
        7,
        None,
    ],
    ids=str,
)
def test_what_is_no_request_is_an_error_with_its_reason_in_both_dialects(
    shim: Shim, lines: Wire, request_: object
) -> None:
    assert shim.framed(request_).error
    for _ in range(2):  # the second time as no first line, of which more is asked
        assert lines.ask(type="query", key="nobody") == {"ok": True, "services": []}
        lines.send(json.dumps(request_).encode() + b"\n")
        assert refusal(lines.line())


# --- whoever advertised it ---


def test_a_query_answers_what_programs_advertise_and_programs_find_what_was_registered(shim: Shim, lines: Wire) -> None:
    type_ = fresh("mixed")
    program = shim.machine.program()
    program.call("advertise", f"{type_}/a", "10.0.0.1:80", properties={"dpi": "600"})
    program.call("advertise", type_, ":81")
    program.call("advertise", f"{type_}s/c", "10.0.0.3:83")
    uuid = shim.register(type_, "192.168.99.99", 82)
    found = [("10.0.0.1", 80), ("127.0.0.1", 81), ("192.168.99.99", 82)]
    assert shim.query(type_) == found
    answer = lines.ask(action="query", type=type_)
    assert sorted((one["ip"], one["port"]) for one in answer["services"]) == found
    assert {one["key"]: one["properties"] for one in answer["services"]} == {
        f"{type_}/a": {"dpi": "600"},
        type_: {},
        f"{type_}/{uuid}": {},
    }
    assert program.call("discover", f"{type_}/{uuid}", 0) == "192.168.99.99:82"
    group = dict(program.call("discover_group", type_))
    assert group == {f"{type_}/a": "10.0.0.1:80", f"{type_}/{uuid}": "192.168.99.99:82"}
    program.call("unadvertise", f"{type_}/a")
    assert shim.query(type_) == found[1:]


def test_with_no_ip_of_its_own_a_service_gets_the_one_that_reaches_this_machine(shim: Shim) -> None:
    type_ = fresh("anywhere")
    shim.register(type_, "0.0.0.0", 7002)
    assert shim.query(type_) == [("127.0.0.1", 7002)]


def test_properties_go_from_lines_to_programs(shim: Shim, lines: Wire) -> None:
    key = fresh("printer/")
    lines.register(key, "10.0.0.1:80", properties={"dpi": "300"})
    uuid = lines.ask(action="register", type=key, ip="10.0.0.2", port=81, properties={"dpi": "150"})["uuid"]
    shown = [json.loads(line) for line in shim.machine.command("list", key, "--json").stdout.splitlines()]
    assert [(one["name"], one["properties"]) for one in shown] == [(f"{key}/{uuid}", {"dpi": "150"})]
    assert lines.ask(type="query", key=key)["services"][0]["properties"] == {"dpi": "300"}
    assert refusal(lines.ask(type="register", key=key, values="x", properties={"dpi": 7}), "bad_request")


def test_a_programs_own_advert_cannot_be_destroyed_by_line(shim: Shim, lines: Wire) -> None:
    key = fresh("own")
    with Program(shim.machine) as program:
        program.ask(do="advertise", name=key, address="10.0.0.1:80")
        assert refusal(lines.ask(type="destruction", key=key), "not_yours")
        assert lines.names(type="query", key=key) == [key]


# --- lines ---


def test_answers_are_compact_lines_with_their_fields_in_one_order(shim: Shim, lines: Wire) -> None:
    key, plain = fresh("exact"), fresh("plain")

    def raw(**request: Any) -> bytes:
        lines.say(**request)
        return lines.raw_line()

    assert raw(type="register", key=key, values="10.0.0.1:80", properties={"a": "b"}) == b'{"ok":true}\r\n'
    service = b'{"key":"%s","values":"10.0.0.1:80","ip":"10.0.0.1","port":80,"properties":{"a":"b"}}' % key.encode()
    assert raw(type="query", key=key) == b'{"ok":true,"services":[%s]}\r\n' % service
    assert raw(type="register", key=plain, values="any text") == b'{"ok":true}\r\n'
    service = b'{"key":"%s","values":"any text","properties":{}}' % plain.encode()
    assert raw(type="query", key=plain) == b'{"ok":true,"services":[%s]}\r\n' % service
    assert raw(type="heartbeat", key=UNKNOWN).startswith(b'{"ok":false,"error":"not_found","reason":"')
    assert list(lines.ask(action="register", type=key, ip="10.0.0.1", port=80)) == ["ok", "uuid"]


def test_every_byte_in_a_packet_of_its_own_is_as_good_as_all_at_once(shim: Shim) -> None:
    key, type_ = fresh("bytes"), fresh("bytes")
    request = b'{"type":"register","key":"%s","values":"10.0.0.1:80"}\r\n{"type":"query","key":"%s"}\n' % (
        (key.encode(),) * 2
    )
    framed = frame({"action": "register", "type": type_, "ip": "10.0.0.1", "port": 80})
    with shim.wire() as pacer, shim.wire() as in_lines, shim.wire() as in_frame:
        for wire, data in ((in_lines, request), (in_frame, framed)):
            for byte in data:
                wire.send(bytes([byte]))
                assert pacer.names(type="query", key="nobody") == []  # by now the beacon has read the byte
        assert in_lines.line() == OK
        assert in_lines.line()["services"][0]["key"] == key
        uuids.UUID(in_frame.answer().text)
    assert shim.query(type_) == [("10.0.0.1", 80)]


def test_messages_glued_together_with_either_end_are_answered_in_their_order(shim: Shim, lines: Wire) -> None:
    keys = [fresh("glued") for _ in range(200)]
    ends = (b"\r\n", b"\n")
    lines.send(
        b"".join(
            b'{"type":"register","key":"%s","values":":80"}%s{"type":"query","key":"%s"}%s'
            % (key.encode(), ends[number % 2], key.encode(), ends[number // 2 % 2])
            for number, key in enumerate(keys)
        )
    )
    for key in keys:
        assert lines.line() == OK
        assert [one["key"] for one in lines.line()["services"]] == [key]
    type_ = fresh("glued")
    both = frame({"action": "register", "type": type_, "ip": "10.0.0.1", "port": 80}) * 2
    with shim.wire(both) as wire:
        uuids.UUID(answer_in(wire.rest()).text)  # one answer: one request a connection
    assert shim.query(type_) == [("10.0.0.1", 80)]


@pytest.mark.parametrize("timeout", ["1", 1, "30", 30, 2.5, "2.5", 86400, "86400"])
def test_a_timeout_is_text_or_a_number(lines: Wire, timeout: Any) -> None:
    key = fresh("timeout")
    lines.register(key, "x", timeout=timeout)
    assert lines.ask(type="heartbeat", key=key) == OK


@pytest.mark.parametrize(
    "rest",
    [
        b'"type":"register","values":"x"',
        b'"key":"K","values":"x"',
        b'"type":"explode","key":"K","values":"x"',
        b'"type":7,"key":"K","values":"x"',
        b'"type":"register","key":7,"values":"x"',
        b'"type":"register","key":"","values":"x"',
        b'"type":"register","key":"K"',
        b'"type":"register","key":"K","values":7',
        b'"type":"query"',
        b'"type":"destruction"',
        b'"type":"heartbeat"',
        *(
            b'"type":"register","key":"K","values":"x","timeout":' + timeout
            for timeout in b'0,"0",-1,"-1",0.5,86401,"86401",1e999,NaN,"NaN","inf","soon","",true,[30]'.split(b",")
        ),
    ],
)
def test_what_the_article_refuses_is_refused_with_a_reason_and_the_next_line_served(lines: Wire, rest: bytes) -> None:
    key = fresh("refused").encode()
    lines.send(b"{" + rest.replace(b'"K"', b'"%s"' % key) + b"}\r\n")
    assert refusal(lines.line())
    assert lines.ask(type="query", key=key.decode()) == {"ok": True, "services": []}


def test_a_heartbeat_in_lines_renews_and_of_an_unknown_key_is_not_found(shim: Shim, lines: Wire) -> None:
    key = fresh("beating")
    lines.register(key, "x", timeout=2)
    for _ in range(25):
        asked = time.monotonic()
        assert lines.ask(type="heartbeat", key=key) == OK
        time.sleep(0.1)
    with shim.wire() as watcher:
        assert watcher.ask(type="watch", key=key)["services"]
        assert watcher.event() == ("left", key, "x")
    assert time.monotonic() - asked >= 1.95
    assert refusal(lines.ask(type="heartbeat", key=key), "not_found")
    assert refusal(lines.ask(action="heartbeat", uuid=UNKNOWN), "not_found")


def test_a_watch_tells_who_joins_changes_and_leaves_whoever_they_are(shim: Shim) -> None:
    group = fresh("watched")
    with shim.wire() as all_, shim.wire() as grouped, shim.wire() as one, shim.wire() as lines:
        program = shim.machine.program()
        program.call("advertise", f"{group}/a", "10.0.0.1:80")
        names = [one_["key"] for one_ in all_.ask(type="watch", key="all")["services"]]
        assert f"{group}/a" in names
        assert [s["key"] for s in grouped.ask(action="watch", type=group)["services"]] == [f"{group}/a"]
        assert one.ask(type="watch", key=f"{group}/b") == {"ok": True, "services": []}
        program.call("advertise", f"{group}/a", "10.0.0.1:81")
        program.call("unadvertise", f"{group}/a")
        lines.register(f"{group}/b", "any text")
        lines.register(f"{group}/b", "any text")  # the same again only renews
        lines.register(f"{group}/b", "other text", timeout=1)
        program.call("advertise", group, ":82")
        ours = [
            ("changed", f"{group}/a", "10.0.0.1:81"),
            ("left", f"{group}/a", "10.0.0.1:81"),
            ("joined", f"{group}/b", "any text"),
            ("changed", f"{group}/b", "other text"),
            ("joined", group, "127.0.0.1:82"),
            ("left", f"{group}/b", "other text"),  # by its lease
        ]
        assert [grouped.event() for _ in ours] == ours
        assert [one.event() for _ in range(3)] == [event for event in ours if event[1] == f"{group}/b"]
        heard: list[tuple[str, str, str]] = []
        while len(heard) < len(ours):
            heard += [event for event in [all_.event()] if event[1].startswith(group)]
        assert heard == ours
        uuid = shim.register(group, "10.0.0.3", 83)
        assert grouped.event() == ("joined", f"{group}/{uuid}", "10.0.0.3:83")
