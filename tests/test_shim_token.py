"""Where the network has a secret, the shim answers nothing from other machines without its token; on its own it needs none."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nwdisco.beacon.doors.shim import ShimDoor
from nwdisco.beacon.loop import Loop
from nwdisco.core.directory import Directory
from nwdisco.core.framed import Framed
from nwdisco.core.lines import Lines
from nwdisco.core.refused import Broken, Refused
from nwdisco.core.shim import WITHOUT_TOKEN, Gate
from tests.documents import Document
from tests.machines import Machine
from tests.namespaces import Network
from tests.shim import Wire, answer_in, frame, refusal
from tests.shim_door import TOKEN, SecuredShim, ask_from
from tests.test_shim_dialects import MESSAGES
from tests.test_shim_fairness import Client

NO_TOKENS = {
    "none": {},
    "empty": {"token": ""},
    "another": {"token": TOKEN[:-1] + "x"},
    "a part": {"token": TOKEN[:-1]},
    "more": {"token": TOKEN + "="},
    "null": {"token": None},
    "a number": {"token": 7},
    "a list": {"token": [TOKEN]},
    "elsewhere": {"properties": {"token": TOKEN}},
    "in capitals": {"TOKEN": TOKEN},
    "beyond ASCII": {"token": "é" * 8},
}


def line(*, token: str | None = None, **request: Any) -> bytes:
    with_token = request if token is None else {**request, "token": token}
    return json.dumps(with_token).encode() + b"\n"


# --- what is let in ---


@pytest.mark.parametrize(("message", "request_"), MESSAGES)
def test_each_request_in_lines_is_refused_without_the_token_and_taken_with_it(
    message: dict[str, Any], request_: object
) -> None:
    dialect = Lines(Gate(TOKEN))
    dialect.feed(line(**message) + line(token=TOKEN, **message))
    with pytest.raises(Refused, match="there is no token") as caught:
        dialect.next()
    assert caught.value.code == "token"
    assert dialect.next() == request_


@pytest.mark.parametrize(
    "content",
    [
        {"action": "register", "type": "t", "ip": "10.0.0.1", "port": 80},
        {"action": "heartbeat", "uuid": "u"},
        {"action": "query", "type": "t"},
    ],
    ids=lambda content: content["action"],
)
def test_each_framed_request_is_refused_without_the_token_and_taken_with_it(content: dict[str, Any]) -> None:
    without, plain, let_in = Framed(Gate(TOKEN)), Framed(), Framed(Gate(TOKEN))
    without.feed(frame(content))
    with pytest.raises(Refused, match="there is no token") as caught:
        without.next()
    assert caught.value.code == "token"
    plain.feed(frame(content))
    let_in.feed(frame({**content, "token": TOKEN}))
    assert let_in.next() == plain.next() is not None


@pytest.mark.parametrize("fields", NO_TOKENS.values(), ids=NO_TOKENS.keys())
def test_what_is_not_exactly_the_token_in_its_field_is_none(fields: dict[str, Any]) -> None:
    with pytest.raises(Refused) as caught:
        Gate(TOKEN).check(line(type="query", key="all", **fields))
    assert caught.value.code == "token"
    assert TOKEN not in str(caught.value)


@given(st.binary(max_size=60) | st.text(max_size=30).map(lambda text: json.dumps({"token": text}).encode()))
def test_whatever_is_sent_without_the_token_is_refused_for_that_reason(sent: bytes) -> None:
    with pytest.raises(Refused) as caught:
        Gate(TOKEN).check(sent)
    assert caught.value.code == "token"


def test_a_token_that_is_empty_by_mistake_lets_nobody_in() -> None:
    for token in ({}, {"token": ""}):
        with pytest.raises(Refused):
            Gate("").check(line(type="query", key="all", **token))


@pytest.mark.parametrize("sent", [b'{"type":1}', b"{garbage", b'{"type":"register","key":"all"}', b'{"a":' * 1000])
def test_who_lacks_the_token_is_not_told_what_else_is_wrong(sent: bytes) -> None:
    dialect = Lines(Gate(TOKEN))
    dialect.feed(sent + b"\n")
    with pytest.raises(Refused) as caught:
        dialect.next()
    assert caught.value.code == "token"


def test_empty_lines_need_no_token_and_are_no_guesses() -> None:
    dialect = Lines(Gate(TOKEN))
    dialect.feed(b"\r\n" * 100 + line(type="query", key="all", token=TOKEN))
    assert dialect.next() is not None


def test_the_fifth_request_without_it_ends_the_connection_whatever_came_between() -> None:
    gate = Gate(TOKEN)
    for _ in range(WITHOUT_TOKEN - 1):
        gate.check(line(token=TOKEN))
        with pytest.raises(Refused) as caught:
            gate.check(line(token="a guess"))
        assert not isinstance(caught.value, Broken)
    with pytest.raises(Broken, match="the connection ends"):
        gate.check(line(token="a guess"))


# --- who needs it ---


def test_with_a_secret_the_door_asks_those_of_other_machines_for_it_and_without_one_nobody() -> None:
    def answer(token: str | None, from_here: bool) -> bytes:
        loop, directory, transport = Loop(), Directory("node-one"), Client()
        door = ShimDoor(loop, directory, lambda: "10.0.0.1", lambda action: action(), token=token)
        client = door.connection(from_here)
        client.connection_made(transport)  # type: ignore[arg-type]
        client.data_received(line(type="register", key="k", values="v"))
        loop.call_soon(loop.stop)
        loop.run()
        (written,) = transport.writes
        assert bool(directory.all()) == (b"true" in written)
        assert door.counters["token"] == (b"true" not in written)
        return written

    assert b'"error":"token"' in answer(TOKEN, False)
    for token, from_here in (TOKEN, True), (None, False), (None, True):
        assert answer(token, from_here) == b'{"ok":true}\r\n'


def test_on_another_host_nothing_goes_without_the_token_and_everything_with_it(network: Network) -> None:
    here, there = network.host(), network.host()
    shim = SecuredShim(here, TOKEN, where="0.0.0.0:0")
    address = here.ip(), shim.address[1]

    def ask(*sent: bytes, count: int = 0) -> list[Any]:
        return [json.loads(said) for said in ask_from(there, address, b"".join(sent), count).splitlines()]

    def framed(**content: Any) -> Any:
        return answer_in(ask_from(there, address, frame(content)))

    register = {"type": "register", "key": "lamp", "values": "10.0.0.1:80"}
    service = {"action": "register", "type": "hive", "ip": "10.0.0.2", "port": 81}
    for refused in ask(*(line(**message) for message, _ in MESSAGES[: WITHOUT_TOKEN - 1]), count=WITHOUT_TOKEN - 1):
        assert "there is no token" in refusal(refused, "token")
    assert "there is no token" in framed(**service).error
    assert "this token is wrong" in framed(**service, token="a guess").error
    assert shim.status()["registrations"] == 0
    assert shim.refused("token") == WITHOUT_TOKEN + 1

    *heard, last = ask(*[line(type="query", key="all", token="a guess")] * 20)
    assert len(heard) == WITHOUT_TOKEN - 1, "guesses that were heard, of one connection"
    assert "the connection ends" in refusal(last, "token")
    assert shim.refused("token") == 2 * WITHOUT_TOKEN + 1

    watch, query = {"type": "watch", "key": "all"}, {"type": "query", "key": "lamp"}
    answers = ask(*(line(**one, token=TOKEN) for one in (watch, register, query)), count=4)
    assert answers[0] == {"ok": True, "services": []}
    assert {"ok": True} in answers
    assert sorted(len(answer.get("services", [])) for answer in answers) == [0, 0, 1, 1]
    assert [answer["services"][0]["key"] for answer in answers if "event" in answer] == ["lamp"]
    uuid = framed(**service, token=TOKEN).text
    assert framed(action="heartbeat", uuid=uuid, token=TOKEN).text == "OK"
    assert framed(action="query", type="hive", token=TOKEN).services == [("10.0.0.2", 81)]
    assert set(here.names()) == {"lamp", f"hive/{uuid}"}

    for own in (here.ip(), "127.0.0.1"):  # on the machine itself
        (answer,) = ask_from(here, (own, address[1]), line(**register), 1).splitlines()
        assert json.loads(answer) == {"ok": True}
    shim.end()


def test_on_the_machine_itself_a_wrong_token_does_no_harm(machine: Machine) -> None:
    shim = SecuredShim(machine, TOKEN)
    with Wire(shim.address) as wire:
        for _ in range(2 * WITHOUT_TOKEN):
            assert wire.ask(type="query", key="nobody", token="a guess") == {"ok": True, "services": []}
    assert shim.status()["refused"] == {}
    shim.end()


# --- the page ---


def test_the_session_with_a_token_goes_as_the_document_says(network: Network) -> None:
    (block,) = Document("shim.md").of_kind("token")
    here, there = network.host(), network.host()
    shim = SecuredShim(here, "ZmYxY2U0OGUtMzE0MC00OTI4", where="0.0.0.0:0")
    requests, answers = block.lines[::2], block.lines[1::2]
    said = ask_from(there, (here.ip(), shim.address[1]), b"\n".join(requests) + b"\n", len(requests))
    assert said.split(b"\r\n") == [*answers, b""]
    shim.end()
