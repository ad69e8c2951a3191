"""The NetworkZero link's own sockets, on loopback and free ports: no root, no NetworkZero."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator

import pytest
import zmq

from nwdisco.beacon.interfaces import Interface
from nwdisco.beacon.loop import Loop
from nwdisco.beacon.networkzero import Networkzero
from nwdisco.core.directory import Directory
from tests.machines import DEADLINE_S, wait_until
from tests.ports import free_port

LOOPBACK = Interface("lo", 1, "127.0.0.1", "127.255.255.255")
DEADLINE_MS = int(DEADLINE_S * 1000)


class Link:
    """Both ports, in a thread of this process."""

    def __init__(self) -> None:
        self.loop = Loop()
        self.directory = Directory("node-one")
        self.port, self.rpc_port = free_port(), free_port()
        self.link = Networkzero(
            self.loop, self.directory, lambda: "127.0.0.1", lambda action: action(), self.port, self.rpc_port
        )
        self._thread = threading.Thread(target=self._run)
        self._stop, self._stopped = socket.socketpair()

    def start(self) -> None:
        self.loop.add_reader(self._stopped, self.loop.stop)
        self.loop.call_soon(self.link.start, [LOOPBACK])
        self._thread.start()
        wait_until(lambda: self.link.status()["rpc"], "the ports")

    def _run(self) -> None:
        self.loop.run()
        self.link.stop()

    def end(self) -> None:
        self._stop.send(b"1")
        self._thread.join(DEADLINE_S)
        assert not self._thread.is_alive()
        for end in (self._stop, self._stopped):
            end.close()


@pytest.fixture
def link() -> Iterator[Link]:
    link = Link()
    yield link
    link.end()


@pytest.fixture
def context() -> Iterator[zmq.Context[zmq.Socket[bytes]]]:
    with zmq.Context() as context:
        yield context


def client(context: zmq.Context[zmq.Socket[bytes]], link: Link, kind: int = zmq.REQ) -> zmq.Socket[bytes]:
    end = context.socket(kind)
    end.linger = 0
    end.rcvtimeo = DEADLINE_MS
    end.connect(f"tcp://127.0.0.1:{link.rpc_port}")
    return end


def test_many_programs_wait_at_the_same_time_and_are_all_answered_when_it_is_there(
    link: Link, context: zmq.Context[zmq.Socket[bytes]]
) -> None:
    link.start()
    waiting = [client(context, link) for _ in range(100)]
    for end in waiting:
        end.send(b'["discover","x",60]')
    with client(context, link) as other:
        other.send(b'["discover","y",0]')
        assert other.recv() == b"null", "nobody is held up"
        wait_until(lambda: link.link.in_use, "they wait")
        other.send(b'["advertise","x","127.0.0.1:5"]')
        assert other.recv() == b'"127.0.0.1:5"'
    for end in waiting:
        assert end.recv() == b'"127.0.0.1:5"'
        end.close()


def test_whatever_comes_in_one_go_is_all_answered_in_its_order(
    link: Link, context: zmq.Context[zmq.Socket[bytes]]
) -> None:
    """More than is served at a time: the socket's descriptor tells of it only once."""
    link.start()
    with client(context, link, zmq.DEALER) as end:
        for _ in range(5):
            for number in range(300):
                end.send_multipart([b"", json.dumps(["advertise", "x", f"127.0.0.1:{number + 1}"]).encode()])
            for number in range(300):
                assert end.recv_multipart() == [b"", f'"127.0.0.1:{number + 1}"'.encode()]


def test_what_no_req_socket_sends_is_counted_and_too_much_ends_the_connection(
    link: Link, context: zmq.Context[zmq.Socket[bytes]]
) -> None:
    link.start()
    with client(context, link, zmq.DEALER) as end:
        for frames in ([b"x"], [b"", b"a", b"b"], [b"a", b"b"], [b"", b"x" * 100_000], [b""]):
            end.send_multipart(frames)
            end.send_multipart([b"", b'["discover","x",0]'])
    with client(context, link) as end:
        end.send(b'["discover","x",0]')
        assert end.recv() == b"null"
    with socket.create_connection(("127.0.0.1", link.rpc_port)) as stranger:
        stranger.sendall(b"GET / HTTP/1.1\r\n\r\n" + bytes(range(256)))
        with client(context, link) as end:
            end.send(b'["discover","x",0]')
            assert end.recv() == b"null"


def test_a_host_name_is_looked_up(
    link: Link, context: zmq.Context[zmq.Socket[bytes]], monkeypatch: pytest.MonkeyPatch
) -> None:
    looked_up = threading.Event()
    go_on = threading.Event()

    def look_up(name: str) -> str:
        looked_up.set()
        assert go_on.wait(DEADLINE_S)
        return {"printer.lan": "10.0.0.9"}[name]

    monkeypatch.setattr(socket, "gethostbyname", look_up)
    link.start()
    with client(context, link) as end, client(context, link) as other:
        end.send(b'["advertise","x","printer.lan:80"]')
        assert looked_up.wait(DEADLINE_S)
        other.send(b'["discover","y",0]')
        assert other.recv() == b"null", "nobody is held up"
        go_on.set()
        assert end.recv() == b'"10.0.0.9:80"'


def test_its_own_broadcasts_are_not_heard_and_a_program_s_are(link: Link) -> None:
    link.start()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as end:
        end.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        end.bind(("", link.port))
        end.settimeout(DEADLINE_S)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as program:
            program.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
            program.sendto(b'["theirs","127.0.0.1:1",20]', ("127.255.255.255", link.port))
        wait_until(lambda: link.directory.get("theirs"), "what a program says")
        assert end.recv(500) == b'["theirs","127.0.0.1:1",20]'
        with zmq.Context() as context, client(context, link) as door:
            door.send(b'["advertise","ours","127.0.0.1:2"]')
            assert door.recv() == b'"127.0.0.1:2"'
        assert end.recv(500) == b'["ours","127.0.0.1:2",20]\n'
    status = link.link.status()
    assert (status["imported"], status["exported"], status["dropped"]) == (1, 1, {})
