"""examples/gateway.py and examples/hello_service.py, run as a reader would, before real services that behave as they are told."""

from __future__ import annotations

import re
import signal
import socket
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest

from tests.cookbook.running import Running
from tests.machines import DEADLINE_S, Machine, Program, wait_until
from tests.web import Asked, Handler, Way, WebService, answers, breaks_off, closes, halting

EXAMPLES = Path(__file__).parent.parent / "examples"


class Shop:
    """The service "shop" on a machine of the test's own: its instances, and a gateway to them."""

    def __init__(self, machine: Machine, ends: ExitStack) -> None:
        self.machine = machine
        self._ends = ends
        self._program: Program = machine.program()

    def instance(self, name: str, way: Way = answers) -> WebService:
        web = WebService(name, way)
        self._ends.callback(web.close)
        self._program.call("advertise", f"shop/{name}", web.address)
        return web

    def withdraw(self, name: str) -> None:
        self._program.call("unadvertise", f"shop/{name}")

    def gateway(self) -> Gateway:
        gateway = Gateway(self.machine, "shop")
        self._ends.callback(gateway.client.close)
        return gateway


class Gateway:
    def __init__(self, machine: Machine, service: str) -> None:
        self.program = Running(machine, EXAMPLES / "gateway.py", service, "0")
        found = self.program.shows(rf"the gateway to {service} is at http://localhost:(\d+)")
        self.port = int(found[1])
        self.client = httpx.Client(base_url=f"http://127.0.0.1:{self.port}", trust_env=False, timeout=DEADLINE_S)

    def get(self, path: str = "/") -> httpx.Response:
        return self.client.get(path)

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=DEADLINE_S)

    def says_to(self, request: bytes) -> bytes:
        """All that it answers to these bytes, until it closes."""
        with self.connect() as connection:
            connection.sendall(request)
            return until_closed(connection)


def until_closed(connection: socket.socket) -> bytes:
    said = b""
    while part := connection.recv(65536):
        said += part
    return said


@pytest.fixture
def shop(machine: Machine) -> Iterator[Shop]:
    with ExitStack() as ends:
        yield Shop(machine, ends)


# --- which instance --------------------------------------------------------------------------------------


def test_requests_are_spread_over_all_instances_on_connections_that_are_kept(shop: Shop) -> None:
    webs = [shop.instance(name) for name in "abc"]
    gateway = shop.gateway()
    assert Counter(gateway.get().text for _ in range(30)) == {"a": 10, "b": 10, "c": 10}
    assert [web.connections for web in webs] == [1, 1, 1]


def test_it_follows_who_comes_and_goes(shop: Shop) -> None:
    shop.instance("a")
    gateway = shop.gateway()
    assert gateway.get().text == "a"
    shop.instance("b")
    wait_until(lambda: gateway.get().text == "b", "the newcomer's answer")
    shop.withdraw("a")
    wait_until(lambda: {gateway.get().text for _ in range(4)} == {"b"}, "only the newcomer's answers")


@pytest.mark.parametrize("way", [closes, breaks_off])
def test_a_get_whose_instance_breaks_is_answered_by_another(shop: Shop, way: Way) -> None:
    a, b = shop.instance("a", way), shop.instance("b")
    gateway = shop.gateway()
    assert [gateway.get().text for _ in range(4)] == ["b"] * 4
    assert len(a.asked) == 1, "it is kept away from"
    assert len(b.asked) == 4


def test_a_post_that_was_sent_is_not_repeated_and_the_answer_says_why(shop: Shop) -> None:
    for name in "ab":
        shop.instance(name, closes)
    gateway = shop.gateway()
    answer = gateway.client.post("/jobs", content=b"three pages")
    assert answer.status_code == 502
    assert "POST may have been carried out, and is not made again" in answer.text
    assert "RemoteProtocolError" in answer.text


def test_without_an_instance_it_says_so(shop: Shop) -> None:
    answer = shop.gateway().get()
    assert answer.status_code == 503
    assert "'shop'" in answer.text


def test_all_instances_failing_is_a_502_that_names_them(shop: Shop) -> None:
    for name in "ab":
        shop.instance(name, closes)
    answer = shop.gateway().get()
    assert answer.status_code == 502
    assert "shop/a" in answer.text
    assert "shop/b" in answer.text


# --- what is passed on -----------------------------------------------------------------------------------


def test_headers_of_a_connection_go_no_further_and_all_others_do(shop: Shop) -> None:
    def way(handler: Handler, asked: Asked) -> None:
        handler.send_response(200, "Very well")
        for name, value in (
            ("Connection", "X-Hop, keep-alive"),
            ("X-Hop", "instance"),
            ("Keep-Alive", "timeout=9"),
            ("Proxy-Connection", "keep-alive"),
            ("Upgrade", "h9"),
            ("Trailer", "X-T"),
            ("TE", "trailers"),
            ("Set-Cookie", "one=1"),
            ("Set-Cookie", "two=2"),
            ("X-End", "to end"),
            ("Content-Length", "2"),
        ):
            handler.send_header(name, value)
        handler.end_headers()
        handler.wfile.write(b"ok")

    a = shop.instance("a", way)
    said = shop.gateway().says_to(
        b"GET / HTTP/1.1\r\nHost: gateway\r\nConnection: x-mine, close\r\nX-Mine: 1\r\nKeep-Alive: 3\r\nTE: trailers\r\n"
        b"Upgrade: h9\r\nProxy-Connection: close\r\nTrailer: X-T\r\nX-End: to end\r\nCookie: c=1\r\n\r\n"
    )
    head = said.partition(b"\r\n\r\n")[0].decode().splitlines()
    assert head[0] == "HTTP/1.1 200 Very well"
    sent = [tuple(line.lower().split(": ")) for line in head[1:]]
    assert sorted(pair for pair in sent if pair[0] not in ("date", "server")) == [
        ("connection", "close"),
        ("content-length", "2"),
        ("set-cookie", "one=1"),
        ("set-cookie", "two=2"),
        ("x-end", "to end"),
    ]
    (asked,) = a.asked
    assert sorted((name.lower(), value) for name, value in asked.headers) == [
        ("cookie", "c=1"),
        ("host", a.address),
        ("via", "1.1 nwdisco"),
        ("x-end", "to end"),
    ]


def test_one_visitor_s_cookies_are_not_for_another(shop: Shop) -> None:
    a = shop.instance("a", lambda handler, asked: handler.answer(b"", Set_Cookie="session=secret; Path=/"))
    gateway = shop.gateway()
    for _ in range(2):
        assert b"session=secret" in gateway.says_to(b"GET / HTTP/1.1\r\nHost: g\r\nConnection: close\r\n\r\n")
    assert not any(name.lower() == "cookie" for asked in a.asked for name, _ in asked.headers)


@pytest.mark.parametrize(
    ("target", "arrives"),
    [
        ("/a/../b//c?x=%2F&y=a+b", "/a/../b//c?x=%2F&y=a+b"),
        ("//double/%7Eanna", "//double/%7Eanna"),
        ("http://gateway/path?x", "/path?x"),
        ("http://gateway", "/"),
    ],
)
def test_the_target_arrives_as_it_was_sent(shop: Shop, target: str, arrives: str) -> None:
    a = shop.instance("a", lambda handler, asked: handler.answer(handler.requestline.split()[1].encode()))
    said = shop.gateway().says_to(f"GET {target} HTTP/1.1\r\nHost: g\r\nConnection: close\r\n\r\n".encode())
    assert said.endswith(f"\r\n\r\n{arrives}".encode())
    assert len(a.asked) == 1


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"])
def test_a_method_and_its_body_arrive(shop: Shop, method: str) -> None:
    a = shop.instance("a")
    gateway = shop.gateway()
    body = bytes(range(256)) * 4096
    assert len(body) == 1024 * 1024
    assert gateway.client.request(method, "/", content=body).text == "a"
    assert gateway.client.request(method, "/", content=iter([b"in ", b"pieces"])).text == "a"
    assert [(asked.method, asked.body) for asked in a.asked] == [(method, body), (method, b"in pieces")]


def test_answers_without_a_body_have_none(shop: Shop) -> None:
    def way(handler: Handler, asked: Asked) -> None:
        if asked.method == "HEAD":
            handler.answer(b"a body")
        else:
            handler.send_response(int(asked.target[1:]))
            handler.end_headers()

    shop.instance("a", way)
    gateway = shop.gateway()
    assert gateway.client.head("/").headers["Content-Length"] == "6"
    assert [gateway.get(f"/{status}").status_code for status in (204, 304)] == [204, 304]
    assert gateway.get("/204").content == b""


def test_a_large_answer_passes_through(shop: Shop) -> None:
    body = bytes(range(256)) * 4096 * 8
    shop.instance("a", lambda handler, asked: handler.answer(body))
    assert shop.gateway().get().content == body


def test_an_answer_without_an_end_arrives_as_it_comes(shop: Shop) -> None:
    def way(handler: Handler, asked: Asked) -> None:
        handler.send_response(200)
        handler.send_header("Content-Type", "text/event-stream")
        handler.end_headers()
        handler.close_connection = True
        handler.wfile.write(b"data: 1\n\n")
        handler.wfile.flush()
        handler.server.ending.wait()
        handler.wfile.write(b"data: 2\n\n")

    a = shop.instance("a", way)
    with shop.gateway().client.stream("GET", "/") as answer:
        pieces = answer.iter_raw()
        assert next(pieces) == b"data: 1\n\n"
        a.ending.set()
        assert b"".join(pieces) == b"data: 2\n\n"


def test_a_long_answer_that_breaks_off_is_seen_to_be_broken(shop: Shop) -> None:
    def way(handler: Handler, asked: Asked) -> None:
        handler.answer(b"x" * 100_000, length=2**21)
        handler.close_connection = True

    shop.instance("a", way)
    gateway = shop.gateway()
    with pytest.raises(httpx.RemoteProtocolError):
        gateway.get()


# --- what visitors may send ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"nonsense\r\n\r\n", 400),
        (b"GET nowhere HTTP/1.1\r\nHost: g\r\n\r\n", 400),
        (b"CONNECT elsewhere.example:443 HTTP/1.1\r\nHost: g\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: g\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", 400),
        (b"GET /" + b"x" * 60_000 + b" HTTP/1.1\r\nHost: g\r\n\r\n", 431),
        (b"GET / HTTP/1.1\r\nHost: g\r\nX: " + b"x" * 60_000, 431),
        (b"POST / HTTP/1.1\r\nHost: g\r\nContent-Length: 1048577\r\n\r\n" + b"x" * 1_048_577, 413),
        (b"POST / HTTP/1.1\r\nHost: g\r\nExpect: 100-continue\r\nContent-Length: 1048577\r\n\r\n", 413),
        (
            b"POST / HTTP/1.1\r\nHost: g\r\nTransfer-Encoding: chunked\r\n\r\n"
            + (b"10000\r\n" + b"x" * 65536 + b"\r\n") * 17,
            413,
        ),
        (b"POST / HTTP/1.1\r\nHost: g\r\nTransfer-Encoding: gzip\r\n\r\n", 501),
    ],
)
def test_what_cannot_be_a_request_or_is_too_large_is_refused(shop: Shop, request_: bytes, status: int) -> None:
    a = shop.instance("a")
    gateway = shop.gateway()
    with gateway.connect() as connection:
        connection.sendall(request_)
        connection.shutdown(socket.SHUT_WR)
        said = until_closed(connection)
    assert said.startswith(f"HTTP/1.1 {status} ".encode()), said[:200]
    assert said.count(b"HTTP/1.1") == 1
    assert a.asked == []
    assert gateway.get().text == "a"


def test_one_connection_carries_many_requests_even_sent_at_once(shop: Shop) -> None:
    shop.instance("a", lambda handler, asked: handler.answer(asked.target.encode()))
    one = b"GET /%d HTTP/1.1\r\nHost: g\r\n\r\n"
    last = b"GET /last HTTP/1.1\r\nHost: g\r\nConnection: close\r\n\r\n"
    said = shop.gateway().says_to(one % 1 + one % 2 + last)
    assert re.findall(rb"\r\n\r\n(/\w+?)(?=HTTP|$)", said) == [b"/1", b"/2", b"/last"]


def test_an_old_client_is_answered_and_its_connection_closed(shop: Shop) -> None:
    shop.instance("a")
    assert shop.gateway().says_to(b"GET / HTTP/1.0\r\n\r\n").endswith(b"\r\n\r\na")


def test_who_waits_to_be_asked_for_the_body_is_asked(shop: Shop) -> None:
    a = shop.instance("a")
    with shop.gateway().connect() as connection:
        connection.sendall(
            b"POST / HTTP/1.1\r\nHost: g\r\nExpect: 100-continue\r\nContent-Length: 4\r\nConnection: close\r\n\r\n"
        )
        assert connection.recv(1000).startswith(b"HTTP/1.1 100 ")
        connection.sendall(b"body")
        assert until_closed(connection).endswith(b"a")
    assert a.asked[0].body == b"body"
    assert "Expect" not in dict(a.asked[0].headers)


def test_who_goes_away_does_no_harm(shop: Shop) -> None:
    a = shop.instance("a")
    gateway = shop.gateway()
    for begun in (b"", b"GET / HT", b"POST / HTTP/1.1\r\nHost: g\r\nContent-Length: 9\r\n\r\nhalf"):
        with gateway.connect() as connection:
            connection.sendall(begun)
    assert gateway.get().text == "a"
    assert len(a.asked) == 1
    assert gateway.program.errors() == ""


# --- the end ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_at_its_end_it_finishes_what_is_under_way(shop: Shop, number: int) -> None:
    a = shop.instance("a", halting(b"begin", b"end"))
    gateway = shop.gateway()
    with gateway.connect() as idle, gateway.connect() as busy:
        busy.sendall(b"GET / HTTP/1.1\r\nHost: g\r\n\r\n")
        wait_until(lambda: a.asked, "the request")
        gateway.program.process.send_signal(number)
        assert until_closed(idle) == b""
        a.ending.set()
        assert until_closed(busy).endswith(b"beginend")
    gateway.program.ends()
    assert gateway.program.lines()[-1] == "bye"
    assert gateway.program.errors() == ""


# --- hello_service.py ------------------------------------------------------------------------------------


def hello(machine: Machine, name: str) -> tuple[Running, str]:
    program = Running(machine, EXAMPLES / "hello_service.py", name)
    return program, program.shows(rf"hello/{name} is at (http://[\d.:]+)")[1]


def test_a_hello_service_is_found_and_says_hello_on_a_connection_that_stays_open(machine: Machine) -> None:
    _, url = hello(machine, "anna")
    assert machine.call("discover", "hello/anna") == url.removeprefix("http://")
    with httpx.Client(trust_env=False, base_url=url) as client:
        for _ in range(2):
            answer = client.get("/")
            assert (answer.status_code, answer.text) == (200, "hello from anna\n")
            assert "Connection" not in answer.headers
        assert client.head("/").headers["Content-Length"] == "16"
        assert client.get("/elsewhere").status_code == 404
        assert client.post("/").status_code == 501


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_is_gone_from_the_lists_before_it_stops_answering(machine: Machine, number: int) -> None:
    program, url = hello(machine, "anna")
    watcher = machine.program()
    watcher.call("watch", "hello")
    assert watcher.call("next_event")[0] == "joined"
    host, _, port = url.removeprefix("http://").partition(":")
    with socket.create_connection((host, int(port)), timeout=DEADLINE_S) as idle:
        idle.sendall(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n")
        assert idle.recv(1000).startswith(b"HTTP/1.1 200 ")
        program.process.send_signal(number)
        assert watcher.call("next_event")[0] == "left"
        program.process.send_signal(number)  # once more does no harm
        assert until_closed(idle) == b""
    program.ends()
    assert program.lines()[-1] == "bye"
    assert program.errors() == ""
