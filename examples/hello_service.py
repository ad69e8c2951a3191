"""A small web service that can be found: it says hello to whoever asks.

Run some, on one machine or on several:      python examples/hello_service.py a
                                             python examples/hello_service.py b
and a gateway that leads to all of them:     python examples/gateway.py hello 8000
Ctrl-C ends one: first it is gone from every list, then it finishes what it has begun.
"""

import signal
import socket
import sys
import threading
import time
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import nwdisco as nw0

name = sys.argv[1] if len(sys.argv) > 1 else "a"
ending = threading.Event()


class Hello(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"  # a connection stays open for further requests
    wbufsize = -1  # and each answer leaves in one piece

    def do_GET(self):
        if self.path != "/":
            self.send_error(404, "There is only / here")
            return
        body = f"hello from {name}\n".encode()
        self.send_response(200)
        self.send_header("Content-Type", "text/plain; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        if ending.is_set():
            self.send_header("Connection", "close")
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    do_HEAD = do_GET

    def log_request(self, *_):
        """Not a line for each request."""


class Server(ThreadingHTTPServer):
    daemon_threads = False  # server_close waits until all have been answered
    request_queue_size = 128  # so many may knock at once

    def server_activate(self):
        self.connections = set()
        super().server_activate()

    def process_request(self, connection, address):
        self.connections.add(connection)
        super().process_request(connection, address)

    def shutdown_request(self, connection):
        self.connections.discard(connection)
        super().shutdown_request(connection)

    def handle_error(self, connection, address):
        if not isinstance(sys.exception(), ConnectionError):  # whoever asks may go away at any time
            super().handle_error(connection, address)


def end(*_):
    for number in signal.SIGINT, signal.SIGTERM:
        signal.signal(number, signal.SIG_IGN)  # once is enough
    raise KeyboardInterrupt


signal.signal(signal.SIGINT, end)
signal.signal(signal.SIGTERM, end)
server = Server(("", 0), Hello)
threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
try:
    address = nw0.advertise(f"hello/{name}", server.server_port)
    print(f"hello/{name} is at http://{address}", flush=True)
    threading.Event().wait()
except KeyboardInterrupt:
    print("bye", flush=True)
finally:
    nw0.unadvertise(f"hello/{name}")
    ending.set()
    time.sleep(1)  # serve on for those who have not heard of it yet
    server.shutdown()
    for connection in list(server.connections):
        with suppress(OSError):  # it is closed already
            connection.shutdown(socket.SHUT_RD)  # the idle ones end now, the others after their answer
    server.server_close()
