"""The shim's TLS against who speaks it badly, slowly or not at all: cut off and counted, while others are served."""

from __future__ import annotations

import os
import ssl
import subprocess
import time
from contextlib import ExitStack, suppress
from threading import Timer

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nwdisco import config
from nwdisco.beacon.doors.tls import MAX_HANDSHAKE, Tls, server_context
from tests.machines import DEADLINE_S, wait_until
from tests.shim import NOTHING, NOTHING_LINE, QUERY, QUERY_LINE, Wire, ask_much_and_never_read, frame
from tests.shim_door import (
    Certificate,
    SecuredShim,
    Talker,
    TlsWire,
    needs_openssl,
    shake_hands,
)

pytestmark = needs_openssl


@pytest.mark.parametrize(
    "sent", [QUERY_LINE, frame(QUERY), b"GET / HTTP/1.1\r\n\r\n", b"\0", b"\xff" * 5000, b"\x80\x2e"]
)
def test_a_client_that_speaks_no_tls_is_cut_off_without_a_word_and_counted(shim: SecuredShim, sent: bytes) -> None:
    before = shim.refused("not_tls")
    with Wire(shim.address, sent) as wire, suppress(ConnectionResetError):
        assert wire.rest() == b""
    assert shim.refused("not_tls") == before + 1


@pytest.mark.parametrize(
    "sent",
    [
        b"\x16" + b"garbage" * 1000,
        b"\x16\x03\x01\x00\x05hello",
        b"\x16\x03\x01\x00\x04\x01\x00\x00\x00",
        b"\x16\x03\x01\x00\x04\x01\x00\x00\x01\x17\x03\x03\x00\x01x",
        b"\x16\x03\x01\xff\xff" + b"\1" * 20_000,
    ],
    ids=["garbage", "a record of something else", "an empty hello", "data before its time", "an endless record"],
)
def test_what_only_begins_like_tls_is_cut_off_and_counted(shim: SecuredShim, sent: bytes) -> None:
    before = shim.refused("tls")
    with Wire(shim.address) as wire, suppress(ConnectionError):
        wire.send(sent)
        assert len(wire.rest()) < 20, "more than an alert"
    wait_until(lambda: shim.refused("tls") == before + 1, "that it is counted")


def test_a_hello_without_an_end_is_cut_off_when_it_is_too_long(shim: SecuredShim) -> None:
    before = shim.refused("tls")
    hello = b"\x01\x01\xff\x00\x03\x03" + b"\1" * 130_000  # 130,816 bytes are announced, which OpenSSL would wait for
    records = [b"\x16\x03\x01\x10\x00" + hello[at : at + 4096] for at in range(0, 12 * 4096, 4096)]
    assert len(b"".join(records)) > 2 * MAX_HANDSHAKE
    with Wire(shim.address) as wire, suppress(ConnectionError):
        for record in records:
            wire.send(record)
        wire.rest()
    wait_until(lambda: shim.refused("tls") == before + 1, "that it is counted")


@given(st.binary(min_size=1, max_size=300))
def test_no_bytes_whatever_are_a_handshake_or_raise_anything_but_an_error_of_tls(
    certificate: Certificate, garbage: bytes
) -> None:
    tls = Tls(server_context(*map(str, certificate)))
    with suppress(ssl.SSLError):
        assert tls.receive(b"\x16\x03\x01" + garbage) == b""
    assert not tls.ready


def test_damaged_bytes_after_the_handshake_end_the_connection_and_nothing_of_them_is_served(
    shim: SecuredShim, context: ssl.SSLContext
) -> None:
    before = shim.refused("tls")
    talker = Talker(context)
    with Wire(shim.address) as wire:
        wire.send(shake_hands(talker, wire.end))
        sealed = talker.seal(b'{"type":"register","key":"damaged","values":"v"}\n')
        wire.send(sealed[:-1] + bytes([sealed[-1] ^ 1]))
        with pytest.raises(ssl.SSLError, match=r"(?i)bad record mac"):
            talker.open(wire.rest())
    assert shim.refused("tls") == before + 1
    assert "damaged" not in shim.machine.names()


def test_a_client_that_does_not_trust_the_certificate_is_counted(shim: SecuredShim) -> None:
    before = shim.refused("tls")
    with pytest.raises(ssl.SSLCertVerificationError), TlsWire(shim.address, ssl.create_default_context()):
        pass
    wait_until(lambda: shim.refused("tls") == before + 1, "that it is counted")


def test_who_stalls_in_the_handshake_is_cut_off_and_others_are_served_meanwhile(
    shim: SecuredShim, context: ssl.SSLContext
) -> None:
    before = shim.refused("timeout")
    hello = Talker(context).shake_hands()
    starts = {"says nothing": b"", "one byte": hello[:1], "half a hello": hello[:200], "a hello and no more": hello}
    with ExitStack() as stack:
        good = stack.enter_context(shim.wire())
        slow = {what: stack.enter_context(Wire(shim.address, start)) for what, start in starts.items()}
        drop = stack.enter_context(Wire(shim.address))
        waiting, begun, dropped = set(slow), time.monotonic(), 0
        while waiting:
            now = time.monotonic() - begun
            assert now < config.SHIM_MESSAGE_S + DEADLINE_S, f"still open: {waiting}"
            if dropped <= min(now * 10, len(hello) - 2):  # byte after byte, it says something all the time
                with suppress(OSError):
                    drop.send(hello[dropped : dropped + 1])
                dropped += 1
            for what in tuple(waiting):
                slow[what].end.setblocking(False)
                with suppress(BlockingIOError):
                    if not slow[what].end.recv(65_536):
                        waiting.discard(what)
            assert good.ask(type="query", key="nobody") == NOTHING
            time.sleep(0.01)
        with suppress(ConnectionResetError):
            assert drop.rest() == b""
    wait_until(lambda: shim.refused("timeout") == before + len(starts) + 1, "that they are counted")


def test_a_client_that_asks_much_and_never_reads_takes_no_memory_and_others_are_served(
    own_shim: SecuredShim, context: ssl.SSLContext
) -> None:
    with own_shim.wire() as holder, TlsWire(own_shim.address, context, receive_buffer=4096) as deaf:
        ask_much_and_never_read(own_shim, holder, deaf)


def test_older_versions_are_refused_with_tls_s_own_alert_and_counted(shim: SecuredShim) -> None:
    before = shim.refused("tls")
    command = ("openssl", "s_client", "-tls1_1", "-cipher", "ALL@SECLEVEL=0", "-connect")
    where = "{}:{}".format(*shim.address)
    done = subprocess.run((*command, where), input="", capture_output=True, text=True, timeout=DEADLINE_S)
    assert done.returncode != 0
    assert "alert protocol version" in done.stderr
    assert shim.refused("tls") == before + 1


def s_client(shim: SecuredShim, version: str, *said: tuple[str, str]) -> str:
    """What openssl's client shows of a connection; it is told each line, and then has to show something."""
    command = ("openssl", "s_client", version, "-connect", "{}:{}".format(*shim.address))
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=subprocess.STDOUT, bufsize=0) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        over = Timer(DEADLINE_S, process.kill)
        over.start()
        shown = ""
        for line, answer in said:  # a letter is a command when it arrives alone
            process.stdin.write(line.encode() + b"\n")
            while answer not in shown:
                part = os.read(process.stdout.fileno(), 65_536)
                assert part, f"it ended without {answer!r}: {shown}"
                shown += part.decode(errors="replace")
        over.cancel()
        process.kill()
    return shown


def test_there_is_no_renegotiation(shim: SecuredShim) -> None:
    assert "RENEGOTIATING" in s_client(shim, "-tls1_2", ("R", "no renegotiation"))


def test_new_keys_within_a_connection_are_no_matter(shim: SecuredShim) -> None:
    s_client(
        shim,
        "-tls1_3",
        ("K", "KEYUPDATE"),
        (QUERY_LINE.decode().strip(), NOTHING_LINE.decode().strip()),
    )
