"""Clients of the beacon's TCP door (the shim) for its tests, written from SEEDS.md 1 and 2 alone, and a beacon with such a door.

As a program, `python -m tests.shim PORT COUNT lines|framed`, it registers COUNT services: all of them from one connection in
lines that are sent at once, or framed, one after the other.
"""

from __future__ import annotations

import itertools
import json
import resource
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

from tests.machines import DEADLINE_S, Machine, wait_until

LEASE_S = 5.0
LATE_WAIT_S = 0.2
"""So long past its lease a query waits for a service's heartbeat."""
GRACE_S = 0.4
"""A framed registration is removed so long after its lease; no query answers it in between."""
MAX_HEADER = 2048
MAX_CONTENT = 8192
MAX_LINE = 8192
MAX_CONNECTIONS = 2048
MAX_REGISTRATIONS = 16_000
MESSAGE_LIMIT_S = 10.0
"""A message must be complete so long after its first byte."""
QUERY = {"action": "query", "type": "nobody"}
QUERY_LINE = b'{"type":"query","key":"nobody"}\r\n'
NOTHING = {"ok": True, "services": []}
NOTHING_LINE = b'{"ok":true,"services":[]}\r\n'
"""The answer to that, as it is sent."""
FILLER = {"filler": "x" * 600}

_numbers = itertools.count(1)


def fresh(word: str) -> str:
    """A name that no other test uses."""
    return f"{word}{next(_numbers)}"


# --- the framed dialect ---


def packed(header: bytes, content: bytes = b"") -> bytes:
    return len(header).to_bytes(2, "big") + header + content


def frame(request: object, changed: dict[str, Any] | None = None) -> bytes:
    """A request as the document's client sends it; `changed` changes header fields, None leaves one out."""
    content = request if isinstance(request, bytes) else json.dumps(request).encode()
    header = {
        "byteorder": sys.byteorder,
        "content-type": "text/json",
        "content-encoding": "utf-8",
        "content-length": len(content),
        **(changed or {}),
    }
    return packed(json.dumps({key: value for key, value in header.items() if value is not None}).encode(), content)


class Answer(NamedTuple):
    header: dict[str, Any]
    content: bytes

    @property
    def text(self) -> str:
        assert self.header["content-type"] == "text/plain", self
        return self.content.decode()

    @property
    def services(self) -> list[tuple[str, int]]:
        assert self.header["content-type"] == "text/json", self
        found = json.loads(self.content)
        assert all(one.keys() == {"ip", "port"} for one in found), found
        return sorted((one["ip"], one["port"]) for one in found)

    @property
    def reason(self) -> str:
        """Why the answer is ERROR or NOT FOUND: a sentence for people."""
        reason = self.header["reason"]
        assert isinstance(reason, str), self
        assert 5 < len(reason) < 500, self
        return reason

    @property
    def error(self) -> str:
        """The reason of an ERROR."""
        assert self.text == "ERROR", self
        return self.reason


def answer_in(data: bytes) -> Answer:
    """The one answer that a connection gave until its end."""
    length = int.from_bytes(data[:2], "big")
    assert 0 < length <= len(data) - 2, f"no whole header: {data[:200]!r}"
    header = json.loads(data[2 : 2 + length])
    assert {"byteorder", "content-type", "content-encoding", "content-length"} <= header.keys(), header
    assert header["byteorder"] in ("little", "big")
    assert header["content-encoding"] == "utf-8"
    content = data[2 + length :]
    assert header["content-length"] == len(content), f"{header} before {len(content)} bytes"
    return Answer(header, content)


# --- connections ---


class Wire:
    """A connection to the door that sends whatever it is told."""

    def __init__(self, address: tuple[str, int], *parts: bytes, receive_buffer: int = 0) -> None:
        self.end = socket.socket()
        self.end.settimeout(DEADLINE_S)
        self.end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if receive_buffer:
            self.end.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.end.connect(address)
        self._incoming = self.end.makefile("rb")
        for part in parts:
            self.send(part)

    def send(self, data: bytes) -> None:
        self.end.sendall(data)

    def say(self, **request: Any) -> None:
        self.send(json.dumps(request).encode() + b"\r\n")

    def raw_line(self) -> bytes:
        return self._incoming.readline()

    def line(self) -> Any:
        """The next line's object; None at the end of the connection."""
        line = self._incoming.readline()
        assert not line or line.endswith(b"\r\n"), f"no CRLF ends {line[-100:]!r}"
        return json.loads(line) if line else None

    def ask(self, **request: Any) -> Any:
        """One request in a line, and its answer."""
        self.say(**request)
        return self.line()

    def register(self, key: str, values: str, **more: Any) -> None:
        assert self.ask(type="register", key=key, values=values, **more) == {"ok": True}

    def names(self, **query: Any) -> list[str]:
        """The names that a query answers, sorted."""
        answer = self.ask(**(query or {"type": "query", "key": "all"}))
        assert answer["ok"] is True, answer
        return sorted(service["key"] for service in answer["services"])

    def event(self) -> tuple[str, str, str]:
        """The next line of a watch: what happened, to whom, and the address."""
        line = self.line()
        assert list(line) == ["ok", "event", "services"], line
        (service,) = line["services"]
        return line["event"], service["key"], service["values"]

    def rest(self) -> bytes:
        """All that comes until the other side closes."""
        return self._incoming.read()

    def answer(self) -> Answer:
        """The one framed answer, after which the server closes."""
        return answer_in(self.rest())

    def close(self) -> None:
        self._incoming.close()
        self.end.close()

    def __enter__(self) -> Wire:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Program:
    """A program of nwdisco, as the beacon sees it: a connection to the control door."""

    def __init__(self, machine: Machine) -> None:
        self.end = socket.socket(socket.AF_UNIX)
        self.end.settimeout(DEADLINE_S)
        self.end.connect(str(machine.runtime_dir / "beacon.sock"))
        self._lines = self.end.makefile("rb")
        self.end.sendall(b"nwdisco-control 1\n")

    def ask(self, **request: Any) -> Any:
        self.end.sendall(json.dumps(request).encode() + b"\n")
        return json.loads(self._lines.readline())

    def __enter__(self) -> Program:
        return self

    def __exit__(self, *_: object) -> None:
        self._lines.close()
        self.end.close()


# --- a beacon with the door ---


def status_of(machine: Machine) -> dict[str, Any] | None:
    """The beacon's status; None as long as it is not there."""
    try:
        with Program(machine) as program:
            status: dict[str, Any] = program.ask(do="status")
            return status
    except (FileNotFoundError, ConnectionRefusedError):
        return None


def address_of(status: dict[str, Any]) -> tuple[str, int]:
    host, _, port = status["shim"]["address"].rpartition(":")
    return host, int(port)


class Shim:
    """A beacon in the foreground, and its door for TCP."""

    def __init__(self, machine: Machine, *options: str) -> None:
        """Without options on a free port; with an empty one where the environment says."""
        self.machine = machine
        self.process = machine.start("beacon", *filter(None, options or ("--shim", "127.0.0.1:0")))
        status = wait_until(lambda: self.process.poll() is not None or status_of(machine), "the beacon's start")
        assert status is not True, f"the beacon ended: {self.process.communicate()}"
        self.pid: int = status["pid"]
        self.door: dict[str, Any] = status["shim"]
        if self.door["address"] is not None:
            self.address = address_of(status)

    def status(self) -> dict[str, Any]:
        """What `nwdisco status` shows of the door."""
        status = status_of(self.machine)
        assert status is not None, "no beacon"
        assert status["pid"] == self.pid, "the beacon was replaced"
        shown: dict[str, Any] = status["shim"]
        return shown

    def wire(self, *parts: bytes) -> Wire:
        return Wire(self.address, *parts)

    def framed(self, request: object, changed: dict[str, Any] | None = None) -> Answer:
        with self.wire(frame(request, changed)) as wire:
            return wire.answer()

    def register(self, type_: str, ip: str, port: int) -> str:
        return self.framed({"action": "register", "type": type_, "ip": ip, "port": port}).text

    def heartbeat(self, uuid: str) -> str:
        return self.framed({"action": "heartbeat", "uuid": uuid}).text

    def query(self, type_: str) -> list[tuple[str, int]]:
        return self.framed({"action": "query", "type": type_}).services

    def check_serves(self) -> None:
        """Both dialects."""
        with self.wire() as lines:
            assert lines.names(type="query", key="nobody") == []
        assert self.query("nobody") == []

    def memory_mb(self) -> float:
        return int(Path(f"/proc/{self.pid}/statm").read_text().split()[1]) * resource.getpagesize() / 1e6

    def end(self) -> str:
        """Tell the beacon to end, which it does in good order; what it wrote to its standard error."""
        self.process.terminate()
        errors = self.process.communicate(timeout=DEADLINE_S)[1]
        assert self.process.returncode == 0, f"status {self.process.returncode}: {errors}"
        assert "Traceback" not in errors, errors
        return errors


def refusal(answer: Any, code: str = "bad_request") -> str:
    """The reason of a line that refuses."""
    assert answer is not None, "the connection ended without an answer"
    assert list(answer) == ["ok", "error", "reason"], answer
    assert (answer["ok"], answer["error"]) == (False, code), answer
    assert 5 < len(answer["reason"]) < 500, answer
    reason: str = answer["reason"]
    return reason


@contextmanager
def loopback_machine(**env: str) -> Iterator[Machine]:
    """As conftest's `machine`, for whom a fixture of its own is too short-lived."""
    from tests.ports import free_port

    with TemporaryDirectory(prefix="nwd-") as place:
        machine = Machine(Path(place) / "m", NWDISCO_INTERFACES="lo", NWDISCO_PORT=str(free_port()), **env)
        try:
            yield machine
        finally:
            machine.close()


@contextmanager
def running_shim(*options: str) -> Iterator[Shim]:
    """A beacon of its own with the door on a free port; at its end it must have complained of nothing."""
    with loopback_machine() as machine:
        shim = Shim(machine, *options)
        yield shim
        shim.end()


# --- what takes time or room ---


def timed(action: Callable[[], Any]) -> tuple[Any, float, float]:
    """What the action gives, and when it was begun and done: what the beacon did, it did in between."""
    begun = time.monotonic()
    value = action()
    return value, begun, time.monotonic()


@contextmanager
def many_files() -> Iterator[None]:
    """More open files for this process, and for nobody else."""
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(limits[1], 10_000), limits[1]))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, limits)


def ask_much_and_never_read(shim: Shim, holder: Wire, deaf: Wire) -> None:
    """What `deaf` has not read stays bounded in the beacon; others are served meanwhile, and so is it, once it reads."""
    for number in range(300):  # a query of all of them takes 200 kB
        holder.register(f"lamp/{number}", "10.0.0.1:80", properties=FILLER)
    before_mb = shim.memory_mb()
    deaf.end.setblocking(False)
    sent, query = 0, b'{"type":"query","key":"all"}\r\n' * 100
    with suppress(ssl.SSLWantWriteError, BlockingIOError):
        while sent < 5_000_000:
            sent += deaf.end.send(query)
    assert sent > 10_000, "so many queries that all their answers take 60 MB"
    for _ in range(20):
        shim.check_serves()
    grown_mb = shim.memory_mb() - before_mb
    print(f"{sent / 1e6:.1f} MB of queries taken, {grown_mb:.1f} MB more memory")
    assert grown_mb < 20
    deaf.end.settimeout(DEADLINE_S)
    for _ in range(20):
        assert len(deaf.line()["services"]) == 300, "once it reads, it gets its answers"


@contextmanager
def flood(shim: Shim, count: int, dialect: str) -> Iterator[subprocess.Popen[str]]:
    """So many registrations from a process of its own; how they were answered, it prints."""
    command = [sys.executable, "-m", "tests.shim", str(shim.address[1]), str(count), dialect]
    root = Path(__file__).parent.parent
    process = subprocess.Popen(command, cwd=root, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        yield process
    finally:
        process.kill()
        process.wait(DEADLINE_S)
        process.stdout.close()


def flood_lines(address: tuple[str, int], count: int) -> Counter[str]:
    line = '{"type":"register","key":"flood/%06d","values":"10.0.0.1:80","timeout":86400}\n'
    lines = "".join(line % number for number in range(count)).encode()
    with Wire(address) as wire:
        sending = threading.Thread(target=wire.send, args=(lines,))
        sending.start()
        answers = Counter(wire.raw_line().decode() for _ in range(count))
        sending.join()
    return answers


def flood_framed(address: tuple[str, int], count: int) -> Counter[str]:
    request = frame({"action": "register", "type": "flood", "ip": "10.0.0.1", "port": 80})
    answers: Counter[str] = Counter()
    for _ in range(count):
        with Wire(address, request) as wire:
            answer = wire.answer()
            answers[answer.reason if answer.text == "ERROR" else "taken"] += 1
    return answers


if __name__ == "__main__":
    floods = {"lines": flood_lines, "framed": flood_framed}
    print(json.dumps(floods[sys.argv[3]](("127.0.0.1", int(sys.argv[1])), int(sys.argv[2]))))
