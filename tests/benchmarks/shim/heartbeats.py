"""Ten thousand services that heartbeat every 5 seconds: the load, and who asks meanwhile, each a process of its own.

    python -m tests.benchmarks.shim.heartbeats load HOST:PORT PID SERVICES ROUNDS
    python -m tests.benchmarks.shim.heartbeats ask HOST:PORT SERVICES SECONDS

`load` registers SERVICES framed in the first round, then heartbeats each of them for ROUNDS rounds by a framed connection of
its own, as the document says, then for as many rounds by lines on 20 standing connections. A round is 5 s; all of it keeps to
one timetable, so that each service is heard of exactly every 5 s, whatever the dialect. It starts `ask` during each of the two,
which queries types of ten services, framed and by lines in turn. Each prints a line of JSON at its end.
"""

from __future__ import annotations

import gc
import json
import math
import random
import select
import socket
import subprocess
import sys
import time
import uuid
from collections import deque
from collections.abc import Callable
from typing import Any, Final

from ..lab import cpu_s, memory_mb
from . import dialects
from .client import Address, ask_framed
from .dialects import FRAMED, LINES

EVERY_S: Final = 5.0
STANDING: Final = 20
TYPE_SIZE: Final = 10
ANSWER_LIMIT_S: Final = 5.0
"""What is not answered so long after the end of a round is not answered."""
ASK_EVERY_S: Final = 0.02
ASK_MARGIN_S: Final = 1.0
"""The asking ends so long before the heartbeats that it is asked during."""

Took = Callable[[int, bytes, float], None]
"""Hears for each answer which service it is for, what it says, and how many seconds it took."""


def service_type(service: int, services: int) -> str:
    """Ten of each, spread over a round."""
    return f"type-{service % max(1, services // TYPE_SIZE):05d}"


class Timetable:
    """When each service's turn is, in each round."""

    def __init__(self, services: int, begins: float) -> None:
        self.services = services
        self._begins = begins
        self._gap_s = EVERY_S / services

    def due(self, turn: int) -> float:
        return self._begins + turn * self._gap_s

    def run(self, turns: range, start: Callable[[int], None], poll: Callable[[float], bool]) -> float:
        """Start each turn's request when it is due, serve what is ready meanwhile; the greatest delay, in seconds.

        `poll` waits so long at most, and says whether anything is under way still.
        """
        late_s, turn = 0.0, turns.start
        while turn < turns.stop:
            now = time.monotonic()
            while turn < turns.stop and (due := self.due(turn)) <= now:
                late_s = max(late_s, now - due)
                start(turn % self.services)
                turn += 1
            poll(max(0.0, self.due(turn) - time.monotonic()))
        until = time.monotonic() + ANSWER_LIMIT_S
        while poll(0.01) and time.monotonic() < until:
            pass
        return late_s


class Connections:
    """A framed connection for each request."""

    def __init__(self, address: Address, requests: list[bytes], took: Took) -> None:
        self._address = address
        self._requests = requests
        self._took = took
        self._poll = select.epoll()
        self._under_way: dict[int, tuple[socket.socket, int, float]] = {}

    def start(self, service: int) -> None:
        connection = socket.socket()
        connection.setblocking(False)
        at = time.monotonic()
        connection.connect_ex(self._address)
        self._under_way[connection.fileno()] = connection, service, at
        try:
            connection.send(self._requests[service])
            self._poll.register(connection, select.EPOLLRDHUP)
        except OSError:  # the server takes no connection at the moment
            self._poll.register(connection, select.EPOLLOUT)

    def poll(self, wait_s: float) -> bool:
        for fd, mask in self._poll.poll(wait_s):
            connection, service, at = self._under_way[fd]
            try:
                if mask == select.EPOLLOUT:
                    connection.send(self._requests[service])
                    self._poll.modify(fd, select.EPOLLRDHUP)
                    continue
                answer = dialects.content(connection.recv(65_536))
            except (OSError, ValueError):
                answer = b""
            del self._under_way[fd]
            connection.close()
            self._took(service, answer, time.monotonic() - at)
        return bool(self._under_way)

    def close(self) -> None:
        for connection, *_ in self._under_way.values():
            connection.close()
        self._poll.close()


class Standing:
    """Lines on a few connections, the services dealt out to them. Answers come in the order of the requests."""

    def __init__(self, address: Address, requests: list[bytes], took: Took) -> None:
        self._requests = requests
        self._took = took
        self._poll = select.epoll()
        self._connections = [socket.create_connection(address) for _ in range(STANDING)]
        self._number = {connection.fileno(): n for n, connection in enumerate(self._connections)}
        self._waiting: list[deque[tuple[int, float]]] = [deque() for _ in self._connections]
        self._text = [b""] * STANDING
        for connection in self._connections:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._poll.register(connection, select.EPOLLIN)

    def start(self, service: int) -> None:
        number = service % STANDING
        self._waiting[number].append((service, time.monotonic()))
        self._connections[number].sendall(self._requests[service])

    def poll(self, wait_s: float) -> bool:
        for fd, _ in self._poll.poll(wait_s):
            number = self._number[fd]
            data = self._connections[number].recv(65_536)
            if not data:
                raise ConnectionError(f"the server closed a standing connection; it said {self._text[number]!r}")
            *lines, self._text[number] = (self._text[number] + data).split(b"\r\n")
            now = time.monotonic()
            for line in lines:
                service, at = self._waiting[number].popleft()
                self._took(service, line, now - at)
        return any(self._waiting)

    def close(self) -> None:
        for connection in self._connections:
            connection.close()
        self._poll.close()


def load(address: Address, pid: int, services: int, rounds: int) -> None:
    framed, lines = [b""] * services, [b""] * services
    timetable = Timetable(services, time.monotonic() + 0.1)

    def registered(service: int, answer: bytes, _took_s: float) -> None:
        name = str(uuid.UUID(answer.decode()))
        framed[service] = dialects.request("heartbeat", uuid=name)
        lines[service] = dialects.line({"action": "heartbeat", "uuid": name})

    wanted = [
        dialects.request("register", type=service_type(n, services), ip="127.0.0.1", port=1024 + n)
        for n in range(services)
    ]
    empty_mb = memory_mb(pid)
    registering = Connections(address, wanted, registered)
    timetable.run(range(services), registering.start, registering.poll)
    registering.close()
    if not all(framed):
        raise ConnectionError(f"{framed.count(b'')} of {services} services were not registered")
    fields: dict[str, Any] = {"empty_mb": empty_mb}
    begin = services
    for dialect, requests, ok, kind in ((FRAMED, framed, b"OK", Connections), (LINES, lines, b'{"ok":true}', Standing)):
        counted = Counted(ok)
        connections = kind(address, requests, counted.took)
        turns = range(begin, begin + rounds * services)
        with Asking(address, services, rounds * EVERY_S - ASK_MARGIN_S) as asking:
            began, used_s, own_s = time.monotonic(), cpu_s(pid), time.process_time()
            late_s = timetable.run(turns, connections.start, connections.poll)
            passed_s = time.monotonic() - began
            fields[dialect] = {
                "cpu": (cpu_s(pid) - used_s) / passed_s,
                "own_cpu": (time.process_time() - own_s) / passed_s,
                "memory_mb": memory_mb(pid),
                "late_s": late_s,
                **counted.fields(len(turns)),
                "asked": asking.fields(),
            }
        connections.close()
        begin = turns.stop
    _say(fields)


class Counted:
    """The answers to heartbeats, and how long they took."""

    def __init__(self, ok: bytes) -> None:
        self._ok = ok
        self._times: list[float] = []
        self._others: list[bytes] = []

    def took(self, _service: int, answer: bytes, took_s: float) -> None:
        self._times.append(took_s)
        if answer != self._ok:
            self._others.append(answer)

    def fields(self, sent: int) -> dict[str, Any]:
        return {
            "heartbeats": sent,
            "not_ok": len(self._others) + sent - len(self._times),
            "said": [other.decode(errors="replace")[:200] for other in self._others[:3]],
            **_shares(self._times),
        }


class Asking:
    """`ask` as a process of its own."""

    def __init__(self, address: Address, services: int, seconds: float) -> None:
        where = "{}:{}".format(*address)
        self._process = subprocess.Popen(
            [sys.executable, "-m", __spec__.name, "ask", where, str(services), str(seconds)], stdout=subprocess.PIPE
        )

    def __enter__(self) -> Asking:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.communicate()

    def fields(self) -> dict[str, Any]:
        said, _ = self._process.communicate(timeout=ANSWER_LIMIT_S)
        fields: dict[str, Any] = json.loads(said)
        return fields


def ask(address: Address, services: int, seconds: float) -> None:
    """Framed on a connection each, lines on a standing one."""
    times: dict[str, list[float]] = {FRAMED: [], LINES: []}
    wrong = 0
    with socket.create_connection(address) as standing:
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            for dialect, took in times.items():
                kind = service_type(random.randrange(services), services)
                began = time.monotonic()
                if dialect == FRAMED:
                    found = json.loads(dialects.content(ask_framed(address, dialects.request("query", type=kind))))
                else:
                    standing.sendall(dialects.line({"action": "query", "type": kind}))
                    text = b""
                    while not text.endswith(b"\n"):
                        text += standing.recv(65_536)
                    found = json.loads(text)["services"]
                took.append(time.monotonic() - began)
                wrong += len(found) != TYPE_SIZE
                time.sleep(ASK_EVERY_S)
    asked = sum(map(len, times.values()))
    _say({"asked": asked, "wrong": wrong, **{dialect: _shares(took) for dialect, took in times.items()}})


def _shares(times: list[float]) -> dict[str, float]:
    times = sorted(times) or [math.nan]
    return {"p50_s": times[len(times) // 2], "p99_s": times[len(times) * 99 // 100]}


def _say(fields: dict[str, Any]) -> None:
    print(json.dumps(fields), flush=True)


def main() -> None:
    what, text, *numbers = sys.argv[1:]
    host, _, port = text.rpartition(":")
    gc.disable()
    if what == "load":
        load((host, int(port)), *map(int, numbers))
    else:
        ask((host, int(port)), int(numbers[0]), float(numbers[1]))


if __name__ == "__main__":
    main()
