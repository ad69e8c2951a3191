"""The shim over TLS: the same dialects, served to who speaks it well, and bounded for who speaks it badly or not at all."""

from __future__ import annotations

import json
import re
import socket
import ssl
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nwdisco.beacon.doors.shim import ShimDoor
from nwdisco.beacon.doors.tls import MAX_HANDSHAKE, Secured, Tls, server_context
from nwdisco.beacon.loop import Loop, Stream
from nwdisco.core.directory import Directory
from tests.documents import Document
from tests.machines import DEADLINE_S, Machine, wait_until
from tests.namespaces import Network
from tests.shim import FILLER, NOTHING, NOTHING_LINE, QUERY, QUERY_LINE, Wire, answer_in, frame, refusal
from tests.shim_door import (
    TOKEN,
    Certificate,
    SecuredShim,
    Talker,
    TlsWire,
    ask_from,
    exchange,
    needs_openssl,
    shake_hands,
)

pytestmark = needs_openssl


# --- the conversation, without I/O ---


@given(st.data())
def test_however_its_bytes_are_cut_the_same_is_read_and_told(certificate: Certificate, data: st.DataObject) -> None:
    tls, talker = Tls(server_context(*map(str, certificate))), Talker(certificate.trusting())
    exchange(tls, talker)
    texts = data.draw(st.lists(st.binary(min_size=1, max_size=50_000), max_size=4))
    sent = b"".join(talker.seal(text) for text in texts) + talker.end()
    cuts = sorted(data.draw(st.lists(st.integers(0, len(sent) - 1), max_size=20)))
    received = b""
    for begin, end in zip([0, *cuts], [*cuts, len(sent)], strict=True):
        assert not tls.ended
        received += tls.receive(sent[begin:end])
    assert received == b"".join(texts)
    assert tls.ended
    assert talker.open(b"".join(tls.seal(text) for text in texts) + tls.end()) == received


def test_the_client_s_end_is_noticed_after_our_own(certificate: Certificate) -> None:
    tls, talker = Tls(server_context(*map(str, certificate))), Talker(certificate.trusting())
    exchange(tls, talker)
    assert talker.open(tls.end()) == b""
    assert tls.receive(talker.seal(b"last words")) == b"last words"
    assert not tls.ended
    assert tls.receive(talker.end()) == b""
    assert tls.ended


# --- the same dialects ---


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_versions_from_1_2_on_are_spoken(shim: SecuredShim, context: ssl.SSLContext, version: ssl.TLSVersion) -> None:
    context.minimum_version = context.maximum_version = version
    with TlsWire(shim.address, context, QUERY_LINE) as wire:
        assert wire.line() == NOTHING
        assert isinstance(wire.end, ssl.SSLSocket)
        assert wire.end.version() == version.name.replace("_", ".")


def test_both_dialects_are_served_over_tls_and_what_they_register_is_found(own_shim: SecuredShim) -> None:
    with own_shim.wire() as wire:
        wire.register("lamp/a", "10.0.0.1:80")
        uuid = own_shim.register("hive", "10.0.0.2", 81)
        assert own_shim.heartbeat(uuid) == "OK"
        assert own_shim.query("hive") == [("10.0.0.2", 81)]
        assert wire.names() == sorted(["lamp/a", f"hive/{uuid}"])
    assert set(own_shim.machine.names()) == {"lamp/a", f"hive/{uuid}"}


def test_a_watch_over_tls_tells_each_change(shim: SecuredShim) -> None:
    with shim.wire() as watcher, shim.wire() as other:
        assert watcher.ask(type="watch", key="seen") == NOTHING
        other.register("seen", "10.0.0.1:80")
        assert watcher.event() == ("joined", "seen", "10.0.0.1:80")
        other.register("seen", "10.0.0.1:81")
        assert watcher.event() == ("changed", "seen", "10.0.0.1:81")
        assert other.ask(type="destruction", key="seen") == {"ok": True}
        assert watcher.event() == ("left", "seen", "10.0.0.1:81")


def test_answers_of_many_pieces_arrive_whole_and_requests_of_many_too(own_shim: SecuredShim) -> None:
    with own_shim.wire() as wire:
        requests = [
            json.dumps({"type": "register", "key": f"lamp/{number:03}", "values": "v", "properties": FILLER}) + "\n"
            for number in range(300)
        ]
        wire.send("".join(requests).encode())
        assert [wire.line() for _ in requests] == [{"ok": True}] * 300
        for _ in range(3):
            answer = wire.ask(type="query", key="all")
            assert [service["key"] for service in answer["services"]] == [f"lamp/{number:03}" for number in range(300)]


def test_a_handshake_and_requests_of_which_each_byte_is_a_packet_are_served(
    shim: SecuredShim, context: ssl.SSLContext
) -> None:
    def send(data: bytes) -> None:
        for byte in data:
            wire.send(bytes([byte]))

    for request, answer in (QUERY_LINE, NOTHING_LINE), (frame(QUERY), None):
        talker = Talker(context)
        with Wire(shim.address) as wire:
            send(shake_hands(talker, wire.end, send) + talker.seal(request))
            received = b""
            while not received.endswith(b"\r\n" if answer else b"[]"):
                part = wire.end.recv(65_536)
                assert part, received
                received += talker.open(part)
            if answer is not None:
                assert received == answer
            else:
                assert answer_in(received).services == []


def test_a_request_in_the_last_packet_of_the_handshake_is_served(shim: SecuredShim, context: ssl.SSLContext) -> None:
    talker = Talker(context)
    with Wire(shim.address) as wire:
        wire.send(shake_hands(talker, wire.end) + talker.seal(QUERY_LINE))
        assert talker.open(wire.end.recv(65_536)) == NOTHING_LINE


@pytest.mark.parametrize("how", ["by TLS", "by TCP", "by both"])
@pytest.mark.parametrize("queries", [1, 300])
def test_who_ends_his_side_still_gets_every_answer_and_then_the_end(
    own_shim: SecuredShim, context: ssl.SSLContext, how: str, queries: int
) -> None:
    with own_shim.wire() as wire:
        for number in range(300):  # more than SHIM_SERVICES_AT_ONCE: such answers wait for their turn
            wire.register(f"lamp/{number}", "v")
    talker = Talker(context)
    with Wire(own_shim.address) as wire:
        wire.send(shake_hands(talker, wire.end))
        sent = talker.seal(b'{"type":"query","key":"all"}\n' * queries)
        wire.send(sent + (b"" if how == "by TCP" else talker.end()))
        if how != "by TLS":
            wire.end.shutdown(socket.SHUT_WR)
        answers = talker.open(wire.rest()).splitlines()
    assert [len(json.loads(answer)["services"]) for answer in answers] == [300] * queries
    wait_until(lambda: own_shim.status()["connections"] == 0, "the end of the connection")


@pytest.mark.parametrize("how", ["by TLS", "by TCP"])
def test_who_ends_his_side_within_a_message_is_told_so(shim: SecuredShim, context: ssl.SSLContext, how: str) -> None:
    talker = Talker(context)
    with Wire(shim.address) as wire:
        wire.send(shake_hands(talker, wire.end) + talker.seal(QUERY_LINE[:-5]))
        if how == "by TLS":
            wire.send(talker.end())
        else:
            wire.end.shutdown(socket.SHUT_WR)
        assert "within a message" in refusal(json.loads(talker.open(wire.rest())))


def test_after_the_last_answer_tls_itself_says_that_it_was_the_last(shim: SecuredShim) -> None:
    with shim.wire(frame(QUERY)) as wire:
        assert wire.answer().services == []
    with shim.wire(b"garbage\r\n") as wire:
        refusal(wire.line())
        assert wire.rest() == b""


def test_a_hundred_clients_at_once_are_all_served(shim: SecuredShim, context: ssl.SSLContext) -> None:
    before_mb = shim.memory_mb()
    with ExitStack() as stack:
        plain = [stack.enter_context(Wire(shim.address)) for _ in range(100)]
        talkers = [Talker(context) for _ in plain]
        for wire, talker in zip(plain, talkers, strict=True):
            wire.send(talker.shake_hands())
        for number, (wire, talker) in enumerate(zip(plain, talkers, strict=True)):
            while not talker.ready:
                wire.send(talker.shake_hands(wire.end.recv(65_536)))
            wire.send(talker.seal(frame(QUERY) if number % 2 else QUERY_LINE))
        for number, (wire, talker) in enumerate(zip(plain, talkers, strict=True)):
            if number % 2:
                assert answer_in(talker.open(wire.rest())).services == []
            else:
                assert talker.open(wire.end.recv(65_536)) == NOTHING_LINE
        assert shim.status()["connections"] == 50, "those in lines are still there"
        print(f"{shim.memory_mb() - before_mb:.1f} MB more memory")


def test_on_another_host_a_token_is_needed_within_tls_too(network: Network, certificate: Certificate) -> None:
    here, there = network.host(), network.host()
    shim = SecuredShim(here, TOKEN, certificate, where="0.0.0.0:0")
    address = here.ip(), shim.address[1]
    code = f"""
import json, socket, ssl
context = ssl.create_default_context(cafile={str(certificate.cert)!r})
plain = socket.create_connection({address!r}, 20)
with context.wrap_socket(plain, server_hostname="localhost") as end, end.makefile("rw") as lines:
    for token in "", {TOKEN!r}:
        print(json.dumps(dict(type="register", key="lamp", values="v", token=token)), file=lines, flush=True)
        print(lines.readline().strip())
"""
    done = there.python(code)
    assert done.returncode == 0, done.stderr
    refused, registered = map(json.loads, done.stdout.splitlines())
    refusal(refused, "token")
    assert registered == {"ok": True}
    assert ask_from(there, address, QUERY_LINE) == b"", "a client without TLS is told something"
    assert here.names() == ["lamp"]
    shim.end()


# --- among others ---


def served(loop: Loop, door: ShimDoor, certificate: Certificate) -> bytes:
    """How a door of this process answers a query over TLS."""
    ours, theirs = socket.socketpair()
    talker = Talker(certificate.trusting())
    answers = bytearray()

    def read() -> None:
        part = theirs.recv(65_536)
        if talker.ready:
            answers.extend(talker.open(part))
            loop.stop()
            return
        theirs.sendall(talker.shake_hands(part))
        if talker.ready:
            theirs.sendall(talker.seal(QUERY_LINE))

    with theirs:
        Stream(loop, ours, Secured(server_context(*map(str, certificate)), door.connection(), door))
        theirs.sendall(talker.shake_hands())
        loop.add_reader(theirs, read)
        loop.call_later(DEADLINE_S, loop.stop)
        loop.run()
        loop.remove_reader(theirs)
        door.close()
    return bytes(answers)


def test_a_handshake_waits_for_the_clients_turn(certificate: Certificate, monkeypatch: pytest.MonkeyPatch) -> None:
    loop = Loop()
    door = ShimDoor(loop, Directory("node-one"), lambda: "10.0.0.1", lambda action: action())
    asked: list[int] = []

    def may_serve(_now: float) -> bool:
        asked.append(loop.turns)
        return len(asked) % 4 == 0

    monkeypatch.setattr(door, "may_serve", may_serve)
    assert served(loop, door, certificate) == NOTHING_LINE
    assert len(asked) >= 8
    assert len(set(asked)) > 2, "all in one turn"


def test_one_client_too_many_is_told_so_within_tls(certificate: Certificate) -> None:
    loop = Loop()
    door = ShimDoor(loop, Directory("node-one"), lambda: "10.0.0.1", lambda action: action(), most=0)
    assert "no more can be" in refusal(json.loads(served(loop, door, certificate)), "over_limit")


# --- the page ---


def blocks(kind: str, part: str) -> list[str]:
    return [block.text for block in Document("shim.md").of_kind(kind) if part in block.text]


def test_the_session_over_tls_goes_as_the_document_says(machine: Machine, place: Path) -> None:
    (make,) = blocks("sh", "openssl req")
    subprocess.run(["sh", "-c", make], cwd=place, check=True, capture_output=True, timeout=DEADLINE_S)
    shim = SecuredShim(machine, certificate=Certificate(place / "shim.pem", place / "shim.key"))
    (shell,) = blocks("sh", "s_client")
    shell = shell.replace("127.0.0.1:65432", "{}:{}".format(*shim.address))
    done = subprocess.run(["sh", "-c", shell], cwd=place, capture_output=True, text=True, timeout=DEADLINE_S)
    registered, found = done.stdout.splitlines()
    assert json.loads(registered) == {"ok": True}, done.stderr
    assert [service["values"] for service in json.loads(found)["services"]] == ["192.168.1.7:8080"]
    (python,) = blocks("python", "ssl")
    python = python.replace("65432", str(shim.address[1]))
    done = subprocess.run([sys.executable, "-c", python], cwd=place, capture_output=True, text=True, timeout=60)
    assert re.search(r"'ok': True.*'lamp/a'.*'192.168.1.7:8080'", done.stdout), done.stderr
    shim.end()


def test_the_page_s_figure_of_a_handshake_is_the_one_in_the_code() -> None:
    assert f"in {MAX_HANDSHAKE:,} bytes" in Document("shim.md").text
