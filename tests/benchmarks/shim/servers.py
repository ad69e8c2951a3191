"""What nwdisco's shim is measured against: `python -m tests.benchmarks.shim.servers floor|article lines|framed [ANSWER]`.

`floor` is the least that a Python server on asyncio does: each read is answered with the same bytes (ANSWER, hexadecimal).
`article` is the design of SEEDS.md's register server: a thread for each client, one byte a recv, a dict. The framed dialect
is served in the same manner. Both print the address at which they listen, and serve until they are killed.
"""

from __future__ import annotations

import asyncio
import json
import socket
import sys
import threading
import time
import uuid
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from .dialects import FRAMED, HEARTBEAT_LEASE_S, compact, frame, line

BACKLOG = 512

# --- the floor ---


class Constant(asyncio.Protocol):
    def __init__(self, answer: bytes) -> None:
        self._answer = answer

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._transport.write(self._answer)


class ConstantOnce(Constant):
    def data_received(self, data: bytes) -> None:
        self._transport.write(self._answer)
        self._transport.close()


async def floor(dialect: str, answer: bytes) -> None:
    protocol = ConstantOnce if dialect == FRAMED else Constant
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: protocol(answer), "127.0.0.1", 0, backlog=BACKLOG)
    _say_address(server.sockets[0])
    await server.serve_forever()


# --- the article's design ---


class Lines:
    """The article's server: read to CRLF, look at `type`, keep a dict."""

    def __init__(self) -> None:
        self._entries: dict[str, dict[str, Any]] = {}

    def serve(self, client: socket.socket) -> None:
        while True:
            data = b""
            while not data.endswith(b"\r\n"):
                received = client.recv(1)
                if not received:
                    return
                data += received
            client.sendall(line(self._answer(json.loads(data[:-2]))))

    def _answer(self, request: dict[str, Any]) -> dict[str, Any]:
        kind, key = request["type"], request["key"]
        if kind == "register":
            timeout = int(request.get("timeout", 30))
            self._entries[key] = {"value": request["values"], "timeout": timeout, "lastUpdateTime": time.time()}
        elif kind == "heartbeat":
            self._entries[key]["lastUpdateTime"] = time.time()
        elif kind == "query":
            return {"ok": True, "services": [self._describe(name) for name in self._live(key)]}
        return {"ok": True}

    def _live(self, key: str) -> list[str]:
        now = time.time()
        for name in [key] if key != "all" else list(self._entries):
            entry = self._entries.get(name)
            if entry is not None and entry["lastUpdateTime"] + entry["timeout"] < now:
                del self._entries[name]
        return list(self._entries) if key == "all" else [name for name in [key] if name in self._entries]

    def _describe(self, name: str) -> dict[str, Any]:
        values = self._entries[name]["value"]
        host, _, port = values.rpartition(":")
        return {"key": name, "values": values, "ip": host, "port": int(port), "properties": {}}


class Framed:
    """SEEDS.md's discovery service, served as the article serves: a list of services, each with its last heartbeat."""

    def __init__(self) -> None:
        self._services: dict[str, dict[str, Any]] = {}

    def serve(self, client: socket.socket) -> None:
        header = json.loads(_read(client, int.from_bytes(_read(client, 2), "big")))
        request = json.loads(_read(client, header["content-length"]))
        action = request["action"]
        if action == "register":
            name = str(uuid.uuid4())
            self._services[name] = {**request, "heartbeat": time.time()}
            client.sendall(frame(name.encode(), "text/plain"))
        elif action == "heartbeat":
            service = self._services.get(request["uuid"])
            if service is not None:
                service["heartbeat"] = time.time()
            client.sendall(frame(b"OK" if service is not None else b"NOT FOUND", "text/plain"))
        else:
            client.sendall(frame(compact(self._query(request["type"]))))

    def _query(self, kind: str) -> list[dict[str, Any]]:
        oldest = time.time() - HEARTBEAT_LEASE_S
        for name in [name for name, service in self._services.items() if service["heartbeat"] < oldest]:
            del self._services[name]
        return [{"ip": s["ip"], "port": s["port"]} for s in self._services.values() if s["type"] == kind]


def _read(client: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        received = client.recv(1)
        if not received:
            raise ConnectionError("ended early")
        data += received
    return data


def article(serve: Callable[[socket.socket], None]) -> None:
    def thread(client: socket.socket) -> None:
        with client, suppress(ConnectionError):  # the client has gone, which its thread need not report
            serve(client)

    listening = socket.create_server(("127.0.0.1", 0), backlog=BACKLOG)
    _say_address(listening)
    while True:
        client, _ = listening.accept()
        threading.Thread(target=thread, args=(client,), daemon=True).start()


def _say_address(listening: Any) -> None:
    host, port = listening.getsockname()
    print(f"{host}:{port}", flush=True)


def main() -> None:
    design, dialect = sys.argv[1:3]
    if design == "floor":
        asyncio.run(floor(dialect, bytes.fromhex(sys.argv[3])))
    else:
        article(Framed().serve if dialect == FRAMED else Lines().serve)


if __name__ == "__main__":
    main()
