"""Web services for the tests: real servers in threads of the test, each of which behaves as it is told."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import NamedTuple

from tests.machines import DEADLINE_S


class Asked(NamedTuple):
    """A request as it arrived."""

    method: str
    target: str
    headers: list[tuple[str, str]]
    body: bytes


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1
    timeout = DEADLINE_S
    server: WebService

    def handle_one_request(self) -> None:
        self.raw_requestline = self.rfile.readline(65537)
        if not self.raw_requestline or not self.parse_request():
            self.close_connection = True
            return
        asked = Asked(self.command, self.path, list(self.headers.items()), self._body())
        self.server.asked.append(asked)
        self.server.way(self, asked)
        self.wfile.flush()

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))
        body = b""
        while size := int(self.rfile.readline(), 16):
            body += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return body

    def answer(self, body: bytes, status: int = 200, length: int | None = None, **headers: str) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body) if length is None else length))
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Not a line for each request."""


Way = Callable[[Handler, Asked], None]


def answers(handler: Handler, asked: Asked) -> None:
    """With its name."""
    handler.answer(handler.server.name.encode())


def closes(handler: Handler, asked: Asked) -> None:
    """Without a word."""
    handler.close_connection = True


def breaks_off(handler: Handler, asked: Asked) -> None:
    """In the middle of its answer."""
    handler.answer(b"the first half", length=28)
    handler.close_connection = True


def hangs(handler: Handler, asked: Asked) -> None:
    """Until its server ends."""
    handler.server.ending.wait()
    handler.close_connection = True


def halting(first: bytes, rest: bytes) -> Way:
    """Sends the beginning of an answer, and the rest when its server is told to end."""

    def way(handler: Handler, asked: Asked) -> None:
        handler.answer(first, length=len(first) + len(rest))
        handler.wfile.flush()
        handler.server.ending.wait()
        handler.wfile.write(rest)

    return way


def tires(handler: Handler, asked: Asked) -> None:
    """Answers the first request of each connection, and closes it without a word at the second."""
    if hasattr(handler, "has_answered"):
        closes(handler, asked)
    else:
        handler.has_answered = True  # type: ignore[attr-defined]
        answers(handler, asked)


class WebService(ThreadingHTTPServer):
    daemon_threads = False
    request_queue_size = 128

    def __init__(self, name: str, way: Way = answers) -> None:
        self.name = name
        self.way = way
        self.asked: list[Asked] = []
        self.ending = threading.Event()
        self.connections = 0
        """So many were made to it."""
        self._open: set[socket.socket] = set()
        super().__init__(("127.0.0.1", 0), Handler)
        self._serving = threading.Thread(target=self.serve_forever, args=(0.01,))
        self._serving.start()

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.server_port}"

    def process_request(self, request: socket.socket | tuple[bytes, socket.socket], client_address: object) -> None:
        assert isinstance(request, socket.socket)
        self._open.add(request)
        self.connections += 1
        super().process_request(request, client_address)

    def shutdown_request(self, request: socket.socket | tuple[bytes, socket.socket]) -> None:
        assert isinstance(request, socket.socket)
        self._open.discard(request)
        super().shutdown_request(request)

    def handle_error(self, request: object, client_address: object) -> None:
        """Who asks may go away at any time."""

    def close(self) -> None:
        self.ending.set()
        self.shutdown()
        self._serving.join()
        for connection in list(self._open):
            try:
                connection.shutdown(socket.SHUT_RDWR)
            except OSError:
                continue  # closed meanwhile
        self.server_close()


class NobodyHome:
    """An address that refuses connections, for as long as this is open."""

    def __init__(self) -> None:
        self._held = socket.socket()
        self._held.bind(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._held.getsockname()[1]}"

    def close(self) -> None:
        self._held.close()
