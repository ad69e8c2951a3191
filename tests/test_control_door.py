"""The control door against programs that speak its protocol badly, or not at all.

Whatever they send, the beacon counts it, refuses it, and serves everybody else.
"""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.control_client import GREETING, LIST, STATUS, Door, beacon_fixture, door_fixture  # noqa: F401 (fixtures)
from tests.machines import wait_until

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


# --- what was counted ---


def test_the_command_shows_the_counters(door: Door) -> None:
    with door.raw(GREETING, b"garbage\n" * 2, b'{"do":"advertise","name":"","address":":1"}\n') as raw:
        assert [raw.line()["error"] for _ in range(3)] == ["bad_request", "bad_request", "bad_advert"]
    counters = door.machine.status()["control"]
    assert door.counted() == {"malformed": 2, "bad_advert": 1}
    shown = door.machine.command("status").stdout
    assert f"{counters['malformed']} malformed" in shown
    assert f"{counters['bad_advert']} bad_advert" in shown
