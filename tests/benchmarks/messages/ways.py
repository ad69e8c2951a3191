"""The ways to talk that are compared, with one interface: nwdisco, NetworkZero, and bare pyzmq with JSON."""

from __future__ import annotations

import importlib
import json
from typing import Any, Final, Protocol

NWDISCO, NETWORKZERO, BARE, UNLIMITED = "nwdisco", "networkzero", "bare", "unlimited"
"""Unlimited: bare pyzmq whose queues have no limit, so that nothing is lost as long as there is memory."""
MESSAGE: Final = {"action": "move", "who": "ann", "to": [120, -45]}
"""51 bytes as JSON."""
Message = Any
"""What JSON can carry."""


class Way(Protocol):
    def open(self, ip: str, port: int) -> str:
        """Be a service; the address where others reach it."""

    def find(self, address: str) -> None:
        """Know the service, as a program does before it talks to it."""

    def answer_all(self, address: str) -> None:
        """Answer each message with itself, for ever."""

    def ask(self, address: str, message: Message) -> Message: ...

    def publish(self, address: str, topic: str, data: Message) -> None: ...

    def hear(self, address: str, wait_s: float) -> tuple[str, Message] | None:
        """The next news, None when none came in time. The same address and time in each call."""


class Verbs:
    """nwdisco's and NetworkZero's are the same."""

    def __init__(self, module: str) -> None:
        self._nw0 = importlib.import_module(module)

    def open(self, ip: str, port: int) -> str:
        return str(self._nw0.advertise("benchmark", f"{ip}:{port}"))

    def find(self, address: str) -> None:
        if self._nw0.discover("benchmark", wait_for_s=20) != address:
            raise LookupError(address)

    def answer_all(self, address: str) -> None:
        nw0 = self._nw0
        while True:
            nw0.send_reply_to(address, nw0.wait_for_message_from(address))

    def ask(self, address: str, message: Message) -> Message:
        return self._nw0.send_message_to(address, message)

    def publish(self, address: str, topic: str, data: Message) -> None:
        self._nw0.send_news_to(address, topic, data)

    def hear(self, address: str, wait_s: float) -> tuple[str, Message] | None:
        topic, data = self._nw0.wait_for_news_from(address, wait_for_s=wait_s)
        return None if topic is None else (topic, data)


class Bare:
    def __init__(self, limit: int | None = None) -> None:
        self._zmq: Any = importlib.import_module("zmq")  # only the environments that are measured have it
        self._context = self._zmq.Context()
        self._limit = limit
        self._socket: Any = None

    def open(self, ip: str, port: int) -> str:
        return f"{ip}:{port}"

    def find(self, address: str) -> None:
        pass

    def answer_all(self, address: str) -> None:
        socket = self._bound(self._zmq.REP, address)
        while True:
            message = json.loads(socket.recv())
            socket.send(json.dumps(message).encode())

    def ask(self, address: str, message: Message) -> Message:
        if self._socket is None:
            self._socket = self._connected(self._zmq.REQ, address)
        self._socket.send(json.dumps(message).encode())
        return json.loads(self._socket.recv())

    def publish(self, address: str, topic: str, data: Message) -> None:
        if self._socket is None:
            self._socket = self._bound(self._zmq.PUB, address)
        self._socket.send_multipart([topic.encode(), json.dumps(data).encode()])

    def hear(self, address: str, wait_s: float) -> tuple[str, Message] | None:
        if self._socket is None:
            self._socket = self._connected(self._zmq.SUB, address)
            self._socket.setsockopt(self._zmq.SUBSCRIBE, b"")
        self._socket.rcvtimeo = int(wait_s * 1000)
        try:
            topic, data = self._socket.recv_multipart()
        except self._zmq.Again:
            return None
        return topic.decode(), json.loads(data)

    def _made(self, kind: int) -> Any:
        socket = self._context.socket(kind)
        if self._limit is not None:
            socket.hwm = self._limit
        return socket

    def _bound(self, kind: int, address: str) -> Any:
        socket = self._made(kind)
        socket.bind(f"tcp://{address}")
        return socket

    def _connected(self, kind: int, address: str) -> Any:
        socket = self._made(kind)
        socket.connect(f"tcp://{address}")
        return socket


def way(name: str) -> Way:
    if name in (NWDISCO, NETWORKZERO):
        return Verbs(name)
    return Bare(limit=0 if name == UNLIMITED else None)
