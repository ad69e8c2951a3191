"""Beacons whose shim has a token or speaks TLS, the certificates for that, and clients: over TLS, and on other hosts.

As a program, `python -m tests.shim_door HOST:PORT TOKEN CERT KEY` (each may be empty), it is such a beacon, in the foreground.
"""

from __future__ import annotations

import shutil
import socket
import ssl
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from nwdisco.beacon.doors.tls import Tls
from tests.machines import DEADLINE_S, Machine, wait_until
from tests.shim import Shim, Wire, address_of, status_of

ROOT = Path(__file__).parent.parent
needs_openssl = pytest.mark.skipif(shutil.which("openssl") is None, reason="certificates need the command openssl")
TOKEN = "M2d3b2-tb2RfZm9yX3Rlc3Rz"
MAKE_KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")
ASK = """
import socket, sys
host, port, count = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
with socket.create_connection((host, port), 20) as end, end.makefile("rb") as answers:
    end.sendall(sys.stdin.buffer.read())
    said = b"".join(answers.readline() for _ in range(count)) if count else answers.read()
sys.stdout.buffer.write(said)
"""
"""Sends its standard input to HOST PORT, shows COUNT lines of the answer; all of it, till the end, when that is 0."""


class Certificate(NamedTuple):
    cert: Path
    key: Path

    def trusting(self) -> ssl.SSLContext:
        """For a client that takes this certificate, of localhost and 127.0.0.1, and no other."""
        return ssl.create_default_context(cafile=str(self.cert))


def make_certificate(place: Path, name: str = "shim") -> Certificate:
    made = Certificate(place / f"{name}.pem", place / f"{name}.key")
    names = ("-subj", f"/CN={name}", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1")
    files = ("-keyout", str(made.key), "-out", str(made.cert))
    openssl("req", "-x509", "-days", "30", *MAKE_KEY, *names, *files)
    return made


def openssl(*args: str) -> str:
    done = subprocess.run(("openssl", *args), capture_output=True, text=True, timeout=DEADLINE_S)
    assert done.returncode == 0, done.stderr
    return done.stdout


class SecuredShim(Shim):
    """A beacon in the foreground whose shim has a token, a certificate, or both."""

    def __init__(
        self, machine: Machine, token: str = "", certificate: Certificate | None = None, where: str = "127.0.0.1:0"
    ) -> None:
        self.machine = machine
        self.certificate = certificate
        files = map(str, certificate or ("", ""))
        command = [*machine.prefix, sys.executable, "-m", "tests.shim_door", where, token, *files]
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(command, cwd=ROOT, env=machine.env, stdout=pipe, stderr=pipe, text=True)
        machine.processes.append(self.process)
        status = wait_until(lambda: self.process.poll() is not None or status_of(machine), "the beacon's start")
        assert status is not True, f"the beacon ended: {self.process.communicate()}"
        self.pid = status["pid"]
        self.door = status["shim"]
        self.address = address_of(status)

    def refused(self, why: str) -> int:
        count: int = self.status()["refused"].get(why, 0)
        return count

    def wire(self, *parts: bytes) -> Wire:
        if self.certificate is None:
            return super().wire(*parts)
        return TlsWire(self.address, self.certificate.trusting(), *parts)


class TlsWire(Wire):
    """A connection over TLS that sends whatever it is told, within it. An end that TLS did not announce raises SSLEOFError."""

    def __init__(
        self, address: tuple[str, int], context: ssl.SSLContext, *parts: bytes, receive_buffer: int = 0
    ) -> None:
        super().__init__(address, receive_buffer=receive_buffer)
        self._incoming.close()
        self.end = context.wrap_socket(self.end, server_hostname="localhost", suppress_ragged_eofs=False)
        self._incoming = self.end.makefile("rb")
        for part in parts:
            self.send(part)


class Talker:
    """The client's side of TLS by hand: it may do with its bytes what it likes."""

    def __init__(self, context: ssl.SSLContext) -> None:
        self.arrived, self.to_send = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = context.wrap_bio(self.arrived, self.to_send, server_hostname="localhost")
        self.ready = False

    def shake_hands(self, answer: bytes = b"") -> bytes:
        """What it says after that answer; nothing more once it is `ready`."""
        self.arrived.write(answer)
        with suppress(ssl.SSLWantReadError):
            self.tls.do_handshake()
            self.ready = True
        return self.to_send.read()

    def seal(self, data: bytes) -> bytes:
        self.tls.write(data)
        return self.to_send.read()

    def end(self) -> bytes:
        with suppress(ssl.SSLWantReadError):  # the other side has not said so yet
            self.tls.unwrap()
        return self.to_send.read()

    def open(self, data: bytes) -> bytes:
        self.arrived.write(data)
        parts = []
        with suppress(ssl.SSLWantReadError, ssl.SSLZeroReturnError):
            while part := self.tls.read(65_536):
                parts.append(part)
        return b"".join(parts)


def shake_hands(talker: Talker, end: socket.socket, send: Callable[[bytes], None] | None = None) -> bytes:
    """Over a real connection, up to the client's last words, which are left to send."""
    said = talker.shake_hands()
    while not talker.ready:
        (send or end.sendall)(said)
        answer = end.recv(65_536)
        assert answer, "the connection ended in the handshake"
        said = talker.shake_hands(answer)
    return said


def exchange(tls: Tls, talker: Talker) -> None:
    """The handshake, to its end on both sides."""
    said = talker.shake_hands()
    while said:
        assert tls.receive(said) == b""
        said = talker.shake_hands(tls.to_send()) if not talker.ready else b""
    assert tls.ready


def ask_from(machine: Machine, address: tuple[str, int], sent: bytes, count: int = 0) -> bytes:
    """What a client on that machine is answered: so many lines, or (0) all till the end."""
    command = [*machine.prefix, sys.executable, "-c", ASK, address[0], str(address[1]), str(count)]
    done = subprocess.run(command, input=sent, capture_output=True, timeout=60)
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout


def _serve(where: str, token: str, cert: str, key: str) -> None:
    from nwdisco.beacon import process
    from nwdisco.beacon.doors.shim_port import ShimPort
    from nwdisco.beacon.doors.tls import server_context
    from nwdisco.settings import Settings, host_and_port

    tls = server_context(cert, key) if cert else None

    def secured(loop: Any, directory: Any, own_ip: Any, when_settled: Any, *_: Any, **__: Any) -> ShimPort:
        return ShimPort(loop, directory, own_ip, when_settled, token or None, tls)

    vars(process)["ShimPort"] = secured
    settings = Settings.from_environment()
    settings.shim = host_and_port("where", where)
    process.run_beacon(settings, lambda: None, None)


if __name__ == "__main__":
    _serve(*sys.argv[1:])
