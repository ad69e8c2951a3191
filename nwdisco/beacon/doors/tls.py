"""TLS around a client of the shim door: its Stream on one side, the Client of shim_client.py on the other, which notices nothing.

`Tls` is the conversation without I/O: bytes in, bytes out. `Secured` drives it, within bounds: the time and the bytes of a
handshake, and the door's turn, for a handshake takes longer than many requests. What cannot be TLS is cut off, and counted.
"""

from __future__ import annotations

import os
import ssl
from contextlib import suppress
from typing import TYPE_CHECKING, NoReturn

from ... import config
from ...errors import SettingError
from ..loop import Stream, Timer

if TYPE_CHECKING:
    from .shim import ShimDoor
    from .shim_client import Client

HANDSHAKE = 22
"""The first byte of all TLS: a record with a part of the handshake."""
MAX_HANDSHAKE = 16_384
"""Bytes of a client before its handshake is done: some 500 to 2,500, as a rule. OpenSSL would keep 130,000."""
MAX_RECORD = 16_384
"""Bytes in one piece of TLS; of more that has come, more is read."""


def server_context(cert: str, key: str) -> ssl.SSLContext:
    """For a beacon that shows the certificate (with those that signed it) and has its key: files in PEM, and one if it holds
    both. Raises SettingError, which says which file is wrong and why."""
    if not cert:
        raise SettingError(f"NWDISCO_SHIM_KEY is {key!r}, without a certificate: set NWDISCO_SHIM_CERT too, or none")
    cert, key = os.path.expanduser(cert), os.path.expanduser(key) or os.path.expanduser(cert)
    for what, path in ("NWDISCO_SHIM_CERT", cert), ("NWDISCO_SHIM_KEY", key):
        try:
            open(path, "rb").close()
        except OSError as error:
            raise SettingError(f"{what} is {path!r}, which cannot be read: {error.strerror}") from None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_RENEGOTIATION
    context.num_tickets = 0  # a client that closes without having read them would take its own requests back
    try:
        context.load_cert_chain(cert, key, password=lambda: _is_locked(key))
    except ssl.SSLError as error:
        raise SettingError(_why_unfit(cert, key, error)) from None
    return context


def _is_locked(key: str) -> NoReturn:
    raise SettingError(
        f"NWDISCO_SHIM_KEY: the key in {key!r} has a passphrase: give one without (openssl pkey -in ...)"
    )


def _why_unfit(cert: str, key: str, error: ssl.SSLError) -> str:
    """OpenSSL does not say which of the files it was."""
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_verify_locations(cafile=cert)
    except ssl.SSLError:
        return f"NWDISCO_SHIM_CERT is {cert!r}, which holds no certificate that can be read: give a file in PEM"
    if error.reason is None:
        return f"NWDISCO_SHIM_KEY is {key!r}, which holds no private key that can be read: give a file in PEM"
    if error.reason in ("KEY_VALUES_MISMATCH", "KEY_TYPE_MISMATCH", "NO_CERTIFICATE_ASSIGNED"):
        return f"the key in {key!r} does not fit the certificate in {cert!r}: give the one that it was made with"
    return (
        f"the certificate in {cert!r} and the key in {key!r} cannot be used: {error.reason.replace('_', ' ').lower()}"
    )


class Tls:
    """The server's side of one conversation."""

    def __init__(self, context: ssl.SSLContext) -> None:
        self._arrived, self._to_send = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._ssl = context.wrap_bio(self._arrived, self._to_send, server_side=True)
        self.ready = False
        """The handshake is done."""
        self.ended = False
        """The client has said that it sends no more."""

    def receive(self, data: bytes) -> bytes:
        """What is in the client's bytes, as far as it is complete. Raises ssl.SSLError when they are no TLS, or none of ours."""
        self._arrived.write(data)
        parts = []
        try:
            if not self.ready:
                self._ssl.do_handshake()
                self.ready = True
            while part := self._ssl.read(MAX_RECORD):
                parts.append(part)
            self.ended = True
        except ssl.SSLZeroReturnError:  # as b"", where we have ended our side before
            self.ended = True
        except ssl.SSLWantReadError:
            pass  # the rest is on its way
        return b"".join(parts)

    def seal(self, data: bytes) -> bytes:
        """As the client is to get it, after whatever else it has to get."""
        with memoryview(data) as rest:
            done = 0
            while done < len(rest):
                done += self._ssl.write(rest[done:])
        return self.to_send()

    def end(self) -> bytes:
        """Our last bytes: that nothing follows."""
        with suppress(ssl.SSLError):  # it wants to hear the client's own end, or there never was a handshake
            self._ssl.unwrap()
        return self.to_send()

    def to_send(self) -> bytes:
        """What the conversation itself has to say: its handshake, its alerts."""
        return self._to_send.read()


class Secured:
    """A connection: for the loop its protocol, for the client its transport."""

    def __init__(self, context: ssl.SSLContext, client: Client, door: ShimDoor) -> None:
        self._tls = Tls(context)
        self._client = client
        self._door = door
        self._handshake_bytes = 0
        self._reading = True
        """The client wants what comes."""
        self._says_end = False
        self._stream: Stream
        self._deadline: Timer

    # --- what the loop calls ---

    def connection_made(self, transport: Stream) -> None:
        self._stream = transport
        self._deadline = self._door.loop.call_later(config.SHIM_MESSAGE_S, self._give_up, "timeout")
        self._client.connection_made(self)

    def data_received(self, data: bytes) -> None:
        if self._tls.ready:
            self._receive(data)
        elif not self._handshake_bytes and data[0] != HANDSHAKE:
            self._give_up("not_tls")
        else:
            self._shake_hands(data)

    def pause_writing(self) -> None:
        self._client.pause_writing()

    def resume_writing(self) -> None:
        self._client.resume_writing()

    def eof_received(self) -> None:
        self._client.eof_received()
        self._say_end()

    def connection_lost(self) -> None:
        self._deadline.cancel()
        self._client.connection_lost()

    # --- what the client calls ---

    @property
    def sent_late(self) -> int:
        return self._stream.sent_late

    def get_write_buffer_size(self) -> int:
        return self._stream.get_write_buffer_size()

    def write(self, data: bytes) -> None:
        if self._says_end or self._stream.is_closing():
            return
        try:
            self._stream.write(self._tls.seal(data))
        except ssl.SSLError:  # not for the door to stumble over, which has others to tell
            self._give_up("tls")

    def pause_reading(self) -> None:
        self._reading = False
        self._stream.pause_reading()

    def resume_reading(self) -> None:
        self._reading = True
        if self._tls.ended:
            self._door.loop.call_soon(self._end_with_the_client)
        else:
            self._stream.resume_reading()

    def write_eof(self) -> None:
        self._say_end()
        self._stream.write_eof()

    def close(self) -> None:
        self._say_end()
        self._stream.close()

    def abort(self) -> None:
        self._stream.abort()

    # --- inside ---

    def _shake_hands(self, data: bytes) -> None:
        """A step of the handshake, when it is the clients' turn."""
        if self._stream.is_closing():
            return
        if not self._door.may_serve(self._door.loop.time()):
            self._stream.pause_reading()
            self._door.loop.call_soon(self._shake_hands, data)
            return
        self._stream.resume_reading()
        self._handshake_bytes += len(data)
        self._receive(data)
        if self._tls.ready:
            self._deadline.cancel()
        elif self._handshake_bytes > MAX_HANDSHAKE:
            self._give_up("tls")

    def _receive(self, data: bytes) -> None:
        try:
            plain = self._tls.receive(data)
        except ssl.SSLError:
            self._give_up("tls")
            return
        if answer := self._tls.to_send():
            self._stream.write(answer)
        if plain:
            self._client.data_received(plain)
        if self._tls.ended:
            self._end_with_the_client()

    def _end_with_the_client(self) -> None:
        """It sends no more: once all that it has sent is answered, the connection ends, as one without TLS does."""
        self._stream.pause_reading()
        if self._reading and not self._stream.is_closing():
            self._client.eof_received()
            self.close()

    def _say_end(self) -> None:
        if not self._says_end:
            self._says_end = True
            if self._tls.ready:
                self._stream.write(self._tls.end())

    def _give_up(self, why: str) -> None:
        """This is no TLS, or none that goes on. TLS has words for that; who speaks no TLS would not understand them."""
        if self._stream.is_closing():
            return
        self._door.counters[why] += 1
        if alert := self._tls.to_send():
            self._stream.write(alert)
        self._client.abort()
