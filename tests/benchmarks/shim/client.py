"""The measuring client: 50 requests under way at all times, in a process of its own, with bare sockets and epoll.

    python -m tests.benchmarks.shim.client HOST:PORT lines|framed query|heartbeat [--pid SERVER] [--seconds 2] [--stints 1]

prints a line of JSON for each stint. It must cost less than any server that it measures, so its loops do nothing but
receive, compare, send. Lines: each connection sends a request, waits for its answer, sends the next. Framed: a connection
for each request, over when the server has closed it, so that the server's side keeps the TIME_WAIT and the client never runs
out of ports. An answer counts only when it is, byte for byte, the first one's equal.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import select
import socket
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, NamedTuple

from ..lab import cpu_s
from . import dialects
from .dialects import FRAMED, KEY, LINES, VALUES

QUERY, HEARTBEAT = "query", "heartbeat"
CONNECTIONS: Final = 50
SILENCE_LIMIT_S: Final = 10.0
WARM_UP_S: Final = 0.2
UNKNOWN: Final = str(uuid.UUID(int=0))

Address = tuple[str, int]


class Broken(Exception):
    """The server did not do what every server must."""


class Counted(NamedTuple):
    latencies: list[float]
    wrong: int
    """Answers unlike the first."""


def ask_line(address: Address, request: bytes) -> bytes:
    with socket.create_connection(address, SILENCE_LIMIT_S) as connection:
        connection.sendall(request)
        data = b""
        while not data.endswith(b"\n"):
            received = connection.recv(65_536)
            if not received:
                raise Broken(f"closed after {data!r}")
            data += received
    return data


def ask_framed(address: Address, request: bytes) -> bytes:
    with socket.create_connection(address, SILENCE_LIMIT_S) as connection:
        connection.sendall(request)
        data = b""
        while received := connection.recv(65_536):
            data += received
    return data


def register(address: Address, dialect: str, wanted: str, constant: bool) -> bytes:
    """Have something there that can be asked for; the request that asks for it. A constant answers anything."""
    if dialect == LINES:
        if not constant:
            entry = {"type": "register", "key": KEY, "values": VALUES, "timeout": dialects.LONG_S}
            answer = ask_line(address, dialects.line(entry))
            if json.loads(answer)["ok"] is not True:
                raise Broken(f"register: {answer!r}")
        return dialects.line({"type": wanted, "key": KEY})
    kind = f"hive-{time.monotonic_ns():x}"
    name = UNKNOWN
    if not constant:
        service = dialects.request("register", type=kind, ip="127.0.0.1", port=65433)
        name = str(uuid.UUID(dialects.content(ask_framed(address, service)).decode()))
    return dialects.request(HEARTBEAT, uuid=name) if wanted == HEARTBEAT else dialects.request(QUERY, type=kind)


def right(dialect: str, wanted: str, answer: bytes) -> bool:
    """Whether an answer is the one that the request deserves."""
    if dialect == FRAMED:
        held = dialects.content(answer)
        return held == b"OK" if wanted == HEARTBEAT else len(json.loads(held)) == 1
    fields = json.loads(answer)
    return fields["ok"] is True and (wanted == HEARTBEAT or len(fields["services"]) == 1)


def machine_cpu_s() -> float:
    """Seconds of CPU that everything on this machine has used, what its host took away from it included."""
    user, nice, system, _idle, _waiting, *rest = map(int, Path("/proc/stat").read_text().split("\n")[0].split()[1:9])
    return (user + nice + system + sum(rest)) / os.sysconf("SC_CLK_TCK")


def wait(poll: select.epoll) -> list[tuple[int, int]]:
    """What is ready, without ever sleeping.

    A client that sleeps has to be woken, which costs whoever answers it several µs on a virtual machine: the slower a server,
    the more often. That would be measured instead of the servers' own work.
    """
    ready = poll.poll(0)
    if not ready:
        give_up_at = time.perf_counter() + SILENCE_LIMIT_S
        while not (ready := poll.poll(0)):
            if time.perf_counter() > give_up_at:
                raise Broken(f"no answer for {SILENCE_LIMIT_S:.0f} s")
    return ready


def run_lines(address: Address, request: bytes, expected: bytes, count: int, seconds: float) -> Counted:
    """Standing connections, one request under way on each."""
    connections = [socket.create_connection(address, SILENCE_LIMIT_S) for _ in range(count)]
    poll = select.epoll()
    receive: dict[int, Callable[[int], bytes]] = {}
    send: dict[int, Callable[[bytes], int]] = {}
    began: dict[int, float] = {}
    partial: dict[int, bytes] = {}
    latencies: list[float] = []
    wrong = 0
    clock = time.perf_counter
    for connection in connections:
        connection.setblocking(False)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        fd = connection.fileno()
        poll.register(fd, select.EPOLLIN)
        receive[fd], send[fd] = connection.recv, connection.send
        began[fd] = clock()
        send[fd](request)
    now = clock()
    until = now + seconds
    while now < until:
        for fd, _ in wait(poll):
            data = receive[fd](65_536)
            if data != expected:
                if not data:
                    raise Broken("the server closed a connection")
                data = partial.pop(fd, b"") + data
                if not data.endswith(b"\n"):
                    partial[fd] = data
                    continue
                wrong += data != expected
            now = clock()
            latencies.append(now - began[fd])
            began[fd] = now
            send[fd](request)
    poll.close()
    for connection in connections:
        connection.close()
    return Counted(latencies, wrong)


def run_framed(address: Address, request: bytes, expected: bytes, count: int, seconds: float) -> Counted:
    """A connection for each request, so many under way."""
    poll = select.epoll()
    under_way: dict[int, tuple[socket.socket, float]] = {}
    latencies: list[float] = []
    wrong = 0
    clock = time.perf_counter

    def begin() -> None:
        connection = socket.socket()
        at = clock()
        connection.connect(address)
        connection.send(request)
        fd = connection.fileno()
        under_way[fd] = connection, at
        poll.register(fd, select.EPOLLRDHUP)  # an answer fits the socket's buffer: one wake-up, when all is there

    for _ in range(count):
        begin()
    now = clock()
    until = now + seconds
    while under_way:
        for fd, _ in wait(poll):
            connection, at = under_way.pop(fd)
            wrong += connection.recv(65_536) != expected
            connection.close()
            now = clock()
            latencies.append(now - at)
            if now < until:
                begin()
    poll.close()
    return Counted(latencies, wrong)


def stint(address: Address, dialect: str, wanted: str, options: argparse.Namespace) -> dict[str, Any]:
    request = register(address, dialect, wanted, options.constant)
    ask, run = (ask_framed, run_framed) if dialect == FRAMED else (ask_line, run_lines)
    expected = ask(address, request)
    if not options.constant and not right(dialect, wanted, expected):
        raise Broken(f"{dialect} {wanted}: {expected!r}")
    run(address, request, expected, options.connections, WARM_UP_S)
    server_s = cpu_s(options.pid) if options.pid else 0.0
    machine_s = machine_cpu_s()
    client_s, began = time.process_time(), time.perf_counter()
    latencies, wrong = run(address, request, expected, options.connections, options.seconds)
    took_s, client_s = time.perf_counter() - began, time.process_time() - client_s
    server_s = cpu_s(options.pid) - server_s if options.pid else 0.0
    others_s = machine_cpu_s() - machine_s - server_s - client_s
    count = len(latencies)
    latencies.sort()
    return {
        "rate": count / took_s,
        "p50_s": latencies[count // 2],
        "p99_s": latencies[count * 99 // 100],
        "server_s": server_s / count,
        "client_s": client_s / count,
        "server_load": server_s / took_s,
        "client_load": client_s / took_s,
        "others_load": others_s / took_s,
        "requests": count,
        "wrong": wrong,
        "answer": expected.hex(),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("address")
    parser.add_argument("dialect", choices=(LINES, FRAMED))
    parser.add_argument("request", choices=(QUERY, HEARTBEAT))
    parser.add_argument("--pid", type=int, help="the server's, for its CPU time")
    parser.add_argument("--connections", type=int, default=CONNECTIONS)
    parser.add_argument("--seconds", type=float, default=2.0, help="of a stint; a framed query's service lives for 5")
    parser.add_argument("--stints", type=int, default=1)
    parser.add_argument("--constant", action="store_true", help="the server answers anything alike")
    options = parser.parse_args()
    host, _, port = options.address.rpartition(":")
    gc.disable()
    for _ in range(options.stints):
        print(json.dumps(stint((host, int(port)), options.dialect, options.request, options)), flush=True)


if __name__ == "__main__":
    main()
