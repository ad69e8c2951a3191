"""The registry in etcd says at the call what is wrong: address, password, certificate, setting, value, an etcd of old."""

from __future__ import annotations

import asyncio
import logging
import re
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from http.server import HTTPServer, SimpleHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest

from nwdisco.errors import (
    RegistryAccessError,
    RegistryError,
    RegistryKeyError,
    RegistryUnavailableError,
    SettingError,
)
from nwdisco.etcd.settings import EtcdSettings
from nwdisco.services.discovery import Discovery
from nwdisco.services.etcd import EtcdRegistry
from nwdisco.services.registered import RegistrySource
from nwdisco.services.registry import MAX_VALUE_BYTES
from nwdisco.services.schema import HostPort
from tests.documents import Document
from tests.etcd import Etcd, in_environment, missing_etcd, running, secured, settings
from tests.machines import DEADLINE_S, wait_until
from tests.ports import free_port
from tests.registry_tools import TTL_S, Heard, gone, put, works

needs_etcd = pytest.mark.skipif(missing_etcd() is not None, reason=str(missing_etcd()))


@pytest.fixture(autouse=True)
def nothing_is_set(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("", "_USER", "_PASSWORD", "_PASSWORD_FILE", "_CA", "_CERT", "_KEY"):
        monkeypatch.delenv(f"NWDISCO_ETCD{name}", raising=False)


@pytest.fixture(scope="module")
def etcd() -> Iterator[Etcd]:
    with running() as etcd:
        yield etcd


# --- nobody there, or somebody else ---


def test_a_host_that_nobody_knows() -> None:
    with pytest.raises(RegistryUnavailableError, match=r"no-such-host\.invalid:2379: no such host is known here"):
        EtcdRegistry("no-such-host.invalid")


def test_a_port_where_nobody_listens() -> None:
    with pytest.raises(RegistryUnavailableError, match="is it running, is this its address"):
        EtcdRegistry(f"127.0.0.1:{free_port()}")


def test_somebody_who_accepts_and_says_nothing() -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as silent,
        pytest.raises(RegistryUnavailableError, match="is it running, is this its address"),
    ):
        EtcdRegistry(f"127.0.0.1:{silent.getsockname()[1]}")


def test_a_web_server_that_is_no_etcd() -> None:
    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, format: str, *args: Any) -> None:
            """Nothing."""

    with HTTPServer(("127.0.0.1", 0), Quiet) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            with pytest.raises(RegistryUnavailableError, match="is this its address"):
                EtcdRegistry(f"127.0.0.1:{server.server_port}")
        finally:
            server.shutdown()
            thread.join()


def test_who_could_not_connect_leaves_no_thread_and_tries_no_more() -> None:
    came: list[float] = []

    def refuse(listener: socket.socket) -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            came.append(time.monotonic())
            client.sendall(b"no\r\n" * 9)
            client.close()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=refuse, args=(listener,))
        thread.start()
        address = f"127.0.0.1:{listener.getsockname()[1]}"
        try:
            for _ in range(3):
                with pytest.raises(RegistryUnavailableError):
                    EtcdRegistry(address)
            assert not [each.name for each in threading.enumerate() if each.name == "nwdisco: etcd"]
            wait_until(lambda: time.monotonic() - came[-1] > 2, "nobody tries for two seconds")
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join()


def test_a_password_that_is_no_text_and_an_address_that_is_none_are_said_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "password").write_bytes(b"\xff\xfe")
    in_environment(monkeypatch, _USER="clerk", _PASSWORD_FILE=tmp_path / "password")
    with pytest.raises(SettingError, match="PASSWORD_FILE names a file that is no text"):
        EtcdRegistry("127.0.0.1")
    with pytest.raises(SettingError, match="the address of etcd is 2379: give text"):
        EtcdSettings.at(2379)  # type: ignore[arg-type]


@pytest.mark.parametrize("timeout_s", [0, -1, float("nan"), float("inf"), "5", None, True])
def test_no_time_is_refused(timeout_s: Any) -> None:
    with pytest.raises(ValueError, match="timeout_s is a number of seconds above 0"):
        EtcdRegistry("127.0.0.1", timeout_s=timeout_s)


@pytest.mark.parametrize("prefix", ["\n", "\0", "\ud800", b"/", None])
def test_a_prefix_that_is_no_text_is_refused(prefix: Any) -> None:
    with pytest.raises(RegistryKeyError, match="prefix"):
        EtcdRegistry("127.0.0.1", prefix=prefix)


# --- an etcd of old: none that can be had here, so one that only says so ---


@contextmanager
def etcd_of_version(version: str) -> Iterator[int]:
    """An etcd that tells its version, and does nothing else; its port."""
    import grpc
    from aetcd import rpc

    async def status(request: Any, context: Any) -> Any:
        return rpc.StatusResponse(version=version)

    async def serve() -> None:
        server = grpc.aio.server()
        handler = grpc.unary_unary_rpc_method_handler(
            status,
            request_deserializer=rpc.StatusRequest.FromString,
            response_serializer=rpc.StatusResponse.SerializeToString,
        )
        server.add_generic_rpc_handlers(
            [grpc.method_handlers_generic_handler("etcdserverpb.Maintenance", {"Status": handler})]
        )
        ports.append(server.add_insecure_port("127.0.0.1:0"))
        await server.start()
        loops.append(asyncio.get_running_loop())
        while not over.is_set():
            await asyncio.sleep(0.02)
        await server.stop(None)

    ports: list[int] = []
    loops: list[asyncio.AbstractEventLoop] = []
    over = threading.Event()
    thread = threading.Thread(target=lambda: asyncio.run(serve()))
    thread.start()
    try:
        wait_until(lambda: loops, "the server")
        yield ports[0]
    finally:
        over.set()
        thread.join()


@pytest.mark.parametrize("version", ["3.2.26", "2.3.8", "nonsense"])
def test_an_etcd_that_is_too_old(version: str) -> None:
    with (
        etcd_of_version(version) as port,
        pytest.raises(RegistryError, match=rf"is version {version}: it is too old, use 3\.3 or later"),
    ):
        EtcdRegistry(f"127.0.0.1:{port}")


def test_something_with_the_version_of_an_etcd_and_nothing_else_of_it() -> None:
    with etcd_of_version("3.5.0") as port, pytest.raises(RegistryError, match="does not speak etcd's v3 API"):
        EtcdRegistry(f"127.0.0.1:{port}")


# --- users and passwords ---


@pytest.fixture(scope="module")
def guarded() -> Iterator[Etcd]:
    with running("--auth-token-ttl", "1") as etcd:
        secured(etcd)
        yield etcd


@needs_etcd
@pytest.mark.parametrize(("user", "password"), [("", ""), ("root", "wrong"), ("nobody", "secret")])
def test_no_password_or_a_wrong_one(guarded: Etcd, user: str, password: str) -> None:
    with pytest.raises(RegistryAccessError, match="see NWDISCO_ETCD_USER and NWDISCO_ETCD_PASSWORD") as caught:
        EtcdRegistry(settings(guarded, user, password))
    assert "wrong" not in str(caught.value)


@needs_etcd
def test_a_password_where_none_is_wanted(etcd: Etcd) -> None:
    with pytest.raises(RegistryAccessError, match="authentication is not enabled"):
        EtcdRegistry(settings(etcd, "root", "secret"))


@needs_etcd
def test_the_right_password_does(guarded: Etcd) -> None:
    with EtcdRegistry(settings(guarded, "root", "secret"), prefix="root/") as registry:
        registry.put("a", "1", lease=registry.lease(TTL_S))
        assert registry.subtree("") == {"a": "1"}


@needs_etcd
def test_who_may_have_some_keys_only_is_refused_the_others(guarded: Etcd) -> None:
    with EtcdRegistry(settings(guarded, "clerk", "pens"), prefix="/") as registry:
        assert registry.put("desk/a", "1")
        assert registry.subtree("desk/a") == {"desk/a": "1"}
        calls: dict[str, Callable[[], object]] = {
            "get": lambda: registry.get("safe"),
            "put": lambda: registry.put("safe", "1"),
            "delete": lambda: registry.delete("safe"),
            "subtree": lambda: registry.subtree(""),
            "follow": lambda: registry.follow("safe", print),
        }
        for name, call in calls.items():
            with pytest.raises(RegistryAccessError, match="see the roles of its users"):
                print(f"{name} was let in: {call()}")
        registry.delete("desk/a")


@needs_etcd
def test_what_the_page_grants_is_enough_for_programs_in_the_plain_way() -> None:
    found = re.search("`etcdctl (role grant-permission ROLE readwrite printer --prefix)`", Document("registry.md").text)
    assert found
    with running() as etcd:
        secured(etcd, found[1].replace("ROLE", "desk"))
        with (
            EtcdRegistry(settings(etcd, "clerk", "pens")) as registry,
            Discovery(RegistrySource(registry, HostPort())) as discovery,
            discovery.watch("printer") as watch,
        ):
            discovery.register("printer", address="10.0.0.1:80")
            joined = watch.next(DEADLINE_S)
            assert joined is not None
            assert joined.instance.address == discovery.locate("printer").address == "10.0.0.1:80"


@needs_etcd
def test_a_password_that_is_wanted_only_now_is_said_at_the_next_call() -> None:
    with running() as etcd, EtcdRegistry(etcd.address) as registry:
        registry.put("a", "1")
        secured(etcd)
        with pytest.raises(RegistryAccessError, match="NWDISCO_ETCD_USER"):
            registry.put("a", "2")


@needs_etcd
def test_the_environment_says_where_etcd_is_and_how_it_lets_us_in(
    guarded: Etcd, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    in_environment(monkeypatch, **{"": guarded.address, "_USER": "clerk", "_PASSWORD": "pens"})
    assert works(EtcdRegistry(prefix="/desk/"))
    (tmp_path / "password").write_text("pens\n")
    in_environment(monkeypatch, _PASSWORD_FILE=tmp_path / "password", _PASSWORD="ignored then")
    assert works(EtcdRegistry(prefix="/desk/"))
    in_environment(monkeypatch, **{"": "127.0.0.1:1"})
    assert works(EtcdRegistry(guarded.address, prefix="/desk/"))


# --- what others put there, and what is too large ---


@needs_etcd
def test_what_others_put_there_that_is_no_key_or_value_is_left_out_with_one_warning_each(
    etcd: Etcd, caplog: pytest.LogCaptureFixture
) -> None:
    from nwdisco.etcd.client import Client, Op

    async def put_raw(values: Mapping[bytes, bytes | None]) -> None:
        client = Client(EtcdSettings.at(etcd.address))
        await client.write([Op(b"/shared/" + key, value) for key, value in values.items()])
        await client.close()

    foreign: dict[bytes, bytes | None] = {b"": b"1", b"/a": b"1", b"a//b": b"1", b"a/": b"1", b"a/\n": b"1"}
    foreign |= {b"a/\xff": b"1", b"a/" + b"x" * 2000: b"1", b"a/broken": b"\xff"}
    heard = Heard()
    with EtcdRegistry(etcd.address, prefix="/shared/") as registry, registry.follow("", heard.append):
        registry.put_all({"a/fine": "1", "a/turns": "1"})
        asyncio.run(put_raw(foreign | {b"a/turns": b"\xfe"}))
        registry.put("a/end", "1")
        heard.until(put("a/end", "1"))
        there = {"a/end": "1", "a/fine": "1"}
        for _ in range(2):
            assert registry.subtree("") == there
            assert registry.children("a") == ["end", "fine"]
            assert registry.get("a/broken") is None
        assert heard.state() == there
        assert heard[-2:] == [gone("a/turns"), put("a/end", "1")]
        asyncio.run(put_raw(dict.fromkeys(foreign)))
        registry.put("a/broken", "mended")
        heard.until(put("a/broken", "mended"))
        assert len(heard) == 5
    warned = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert len(warned) == len(foreign) + 1
    assert all(text.startswith("b'/shared/") and "in etcd is left out" in text for text in warned)


@needs_etcd
@pytest.mark.parametrize("size", [100_000, 400_000])
def test_an_etcd_that_takes_less_than_others_says_so_and_nothing_is_changed(size: int) -> None:
    with running("--max-request-bytes", "20000") as etcd, EtcdRegistry(etcd.address) as registry:
        with pytest.raises(RegistryKeyError, match="put less at once"):
            registry.put_all({"a": "1", "b": "x" * size, "c": "x" * size})
        assert registry.subtree("") == {}


@needs_etcd
def test_many_large_values_are_read_and_followed(etcd: Etcd) -> None:
    heard = Heard()
    with EtcdRegistry(etcd.address, prefix="many/", timeout_s=DEADLINE_S) as registry:
        values = {f"{number:02}": str(number) + "x" * (MAX_VALUE_BYTES - 2) for number in range(40)}
        for key, value in values.items():
            registry.put(key, value)
        assert registry.subtree("") == values
        with registry.follow("", heard.append):
            assert heard.state() == values
        registry.delete_subtree("")


@needs_etcd
@pytest.mark.parametrize("ttl_s", [1e10, 10**30])
def test_a_lease_longer_than_etcd_grants_is_refused(etcd: Etcd, ttl_s: float) -> None:
    with EtcdRegistry(etcd.address) as registry, pytest.raises(RegistryKeyError, match="9000000000 seconds at most"):
        registry.lease(ttl_s)
