"""The registry in etcd says at the call what is wrong: an address, a password, a certificate, a setting, a value, an etcd of old."""

from __future__ import annotations

import asyncio
import logging
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from http.server import HTTPServer, SimpleHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest

from nwdisco.addresses import free_port
from nwdisco.errors import (
    RegistryAccessError,
    RegistryError,
    RegistryKeyError,
    RegistryUnavailableError,
    SettingError,
)
from nwdisco.etcd.settings import EtcdSettings
from nwdisco.services.etcd import EtcdRegistry
from nwdisco.services.registry import MAX_VALUE_BYTES
from tests.etcd import Etcd, missing_etcd
from tests.machines import DEADLINE_S, wait_until
from tests.registry_contract import TTL_S, Heard, gone, put

needs_etcd = pytest.mark.skipif(missing_etcd() is not None, reason=str(missing_etcd()))


@pytest.fixture(autouse=True)
def nothing_is_set(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("", "_USER", "_PASSWORD", "_PASSWORD_FILE", "_CA", "_CERT", "_KEY"):
        monkeypatch.delenv(f"NWDISCO_ETCD{name}", raising=False)


@contextmanager
def running(*options: str) -> Iterator[Etcd]:
    etcd = Etcd(options=options)
    try:
        etcd.start()
        yield etcd
    finally:
        etcd.close()


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


@pytest.mark.parametrize("timeout_s", [0, -1, float("nan")])
def test_no_time_is_refused(timeout_s: float) -> None:
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


def secured(etcd: Etcd) -> None:
    """Password wanted: root's is "secret"; "clerk" has "pens", and only what begins with /desk/."""
    for command in (
        "user add root:secret",
        "user grant-role root root",
        "role add desk",
        "role grant-permission desk readwrite /desk/ --prefix",
        "user add clerk:pens",
        "user grant-role clerk desk",
        "auth enable",
    ):
        etcd.ctl(*command.split())


def settings(etcd: Etcd, user: str = "", password: str = "") -> EtcdSettings:
    return EtcdSettings(((etcd.ip, etcd.port),), user=user, password=password)


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
def test_a_token_that_expires_is_had_anew(guarded: Etcd) -> None:
    heard = Heard()
    with (
        EtcdRegistry(settings(guarded, "root", "secret"), prefix="token/") as registry,
        EtcdRegistry(settings(guarded, "root", "secret"), prefix="token/") as other,
        registry.follow("", heard.append),
    ):
        lease = registry.lease(TTL_S)
        registry.put("a", "1", lease=lease)
        other.put("clock", "1", lease=other.lease(4, keep_alive=False))
        heard.until(gone("clock"))  # four seconds later, and a token lives for one
        assert registry.subtree("") == {"a": "1"}
        registry.put("b", "1", lease=lease)
        heard.until(put("b", "1"))
        registry.delete_subtree("")


@needs_etcd
def test_a_token_that_etcd_forgot_when_it_was_started_again_is_had_anew() -> None:
    with running() as etcd:
        secured(etcd)
        with EtcdRegistry(settings(etcd, "root", "secret")) as registry:
            lease = registry.lease(30)
            registry.put("a", "1", lease=lease)
            heard = Heard()
            with registry.follow("", heard.append):
                etcd.kill()
                etcd.start()
                registry.put("b", "1", lease=lease)
                heard.until(put("b", "1"))
            assert registry.subtree("") == {"a": "1", "b": "1"}


@needs_etcd
def test_a_password_that_is_wanted_only_now_is_said_at_the_next_call() -> None:
    with running() as etcd, EtcdRegistry(etcd.address) as registry:
        registry.put("a", "1")
        secured(etcd)
        with pytest.raises(RegistryAccessError, match="NWDISCO_ETCD_USER"):
            registry.put("a", "2")


# --- TLS ---


def openssl(place: Path, *commands: str) -> None:
    for command in commands:
        subprocess.run(["openssl", *command.split()], cwd=place, check=True, capture_output=True, timeout=60)


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two authorities, `ca` and `other`; of the first, certificates of a `server` at 127.0.0.1 and of a `client`."""
    place = tmp_path_factory.mktemp("certificates")
    new_key = "-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes"
    (place / "at").write_text("subjectAltName=IP:127.0.0.1\n")
    openssl(
        place,
        *(f"req -x509 {new_key} -keyout {ca}.key -out {ca}.pem -days 2 -subj /CN={ca}" for ca in ("ca", "other")),
        *(f"req {new_key} -keyout {one}.key -out {one}.csr -subj /CN={one}" for one in ("server", "client")),
        "x509 -req -in server.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -extfile at -out server.pem",
        "x509 -req -in client.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -out client.pem",
    )
    return place


@pytest.fixture(scope="module")
def tls_etcd(certificates: Path) -> Iterator[Etcd]:
    with running(f"--cert-file={certificates}/server.pem", f"--key-file={certificates}/server.key") as etcd:
        yield etcd


@pytest.fixture(scope="module")
def strict_etcd(certificates: Path) -> Iterator[Etcd]:
    """It asks for the client's certificate too."""
    files = f"--cert-file={certificates}/server.pem --key-file={certificates}/server.key"
    with running(*files.split(), f"--trusted-ca-file={certificates}/ca.pem", "--client-cert-auth") as etcd:
        yield etcd


def in_environment(monkeypatch: pytest.MonkeyPatch, **values: object) -> None:
    for name, value in values.items():
        monkeypatch.setenv(f"NWDISCO_ETCD{name}", str(value))


def works(registry: EtcdRegistry) -> bool:
    heard = Heard()
    with registry, registry.follow("a", heard.append), registry.lease(TTL_S) as lease:
        registry.put("a", "1", lease=lease)
        heard.until(put("a", "1"))
    return True


@needs_etcd
def test_tls_with_an_authority_of_ones_own(
    tls_etcd: Etcd, certificates: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    in_environment(monkeypatch, _CA=certificates / "ca.pem")
    assert works(EtcdRegistry(tls_etcd.address))
    assert works(EtcdRegistry(f"https://{tls_etcd.address}"))
    assert works(EtcdRegistry(EtcdSettings.from_environment(tls_etcd.address)))


@needs_etcd
def test_tls_where_etcd_wants_our_certificate(
    strict_etcd: Etcd, certificates: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    in_environment(monkeypatch, _CA=certificates / "ca.pem")
    with pytest.raises(RegistryAccessError, match="_CERT and _KEY"):
        EtcdRegistry(strict_etcd.address)
    in_environment(monkeypatch, _CERT=certificates / "client.pem", _KEY=certificates / "client.key")
    assert works(EtcdRegistry(strict_etcd.address))


@needs_etcd
@pytest.mark.parametrize("ca", ["other.pem", "at", None])
def test_an_authority_that_is_another_or_none(
    tls_etcd: Etcd, certificates: Path, monkeypatch: pytest.MonkeyPatch, ca: str | None
) -> None:
    """`at` is a file that holds no certificate; without any, this machine's authorities are asked."""
    if ca is not None:
        in_environment(monkeypatch, _CA=certificates / ca)
    with pytest.raises(RegistryAccessError, match="see NWDISCO_ETCD_CA"):
        EtcdRegistry(f"https://{tls_etcd.address}")


@needs_etcd
def test_a_certificate_for_another_host(
    tls_etcd: Etcd, certificates: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    in_environment(monkeypatch, _CA=certificates / "ca.pem")
    with pytest.raises(RegistryAccessError, match="Hostname Verification"):
        EtcdRegistry(f"localhost:{tls_etcd.port}")


@needs_etcd
def test_tls_on_one_side_only(etcd: Etcd, tls_etcd: Etcd) -> None:
    for address in (tls_etcd.address, f"https://{etcd.address}"):
        with pytest.raises(RegistryUnavailableError, match="with https:// if it speaks TLS"):
            EtcdRegistry(address)


# --- settings ---


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


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"": "host:port"}, "NWDISCO_ETCD has 'host:port': give HOST:PORT"),
        ({"": "a:1,https://b:2"}, "all with https:// or none"),
        ({"_USER": "root"}, "_PASSWORD"),
        ({"_PASSWORD": "secret"}, "NWDISCO_ETCD_USER"),
        ({"_USER": "root", "_PASSWORD_FILE": "/none"}, "NWDISCO_ETCD_PASSWORD_FILE is '/none', which cannot be read"),
        ({"_CA": "/none"}, "NWDISCO_ETCD_CA is '/none', which cannot be read"),
        ({"_CERT": "/dev/null"}, "NWDISCO_ETCD_CERT and NWDISCO_ETCD_KEY belong together"),
    ],
)
def test_a_bad_setting_is_named(values: Mapping[str, str], says: str, monkeypatch: pytest.MonkeyPatch) -> None:
    in_environment(monkeypatch, **values)
    with pytest.raises(SettingError) as caught:
        EtcdRegistry()
    assert says in str(caught.value)


def test_a_bad_address_is_named_as_such() -> None:
    with pytest.raises(SettingError, match="the address of etcd has 'a b': give HOST:PORT"):
        EtcdRegistry("a b")


def test_who_lacks_aetcd_is_told_what_to_do() -> None:
    program = """
import sys
sys.modules["aetcd"] = None
try:
    import nwdisco.services.etcd
except ImportError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert (done.stdout, done.stderr) == ("EtcdRegistry needs aetcd: pip install 'nwdisco[etcd]'\n", "")


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
@pytest.mark.parametrize("size", [100_000, MAX_VALUE_BYTES])
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
