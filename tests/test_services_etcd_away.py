"""EtcdRegistry when the way to etcd breaks: who follows misses nothing."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from nwdisco.services.discovery import Discovery
from nwdisco.services.etcd import EtcdRegistry
from nwdisco.services.registered import RegistrySource
from nwdisco.services.schema import PropertyPerKey
from tests.etcd import Etcd, Record, missing_etcd, soon
from tests.machines import DEADLINE_S, wait_until
from tests.ports import free_port
from tests.registry_tools import TTL_S, Heard, gone, put

pytestmark = pytest.mark.skipif(missing_etcd() is not None, reason=str(missing_etcd()))

SHORT_S = 1.0
"""The time of a call that is to fail."""


@pytest.fixture
def registry(etcd: Etcd) -> Iterator[EtcdRegistry]:
    with EtcdRegistry(etcd.address, prefix="/", timeout_s=SHORT_S) as registry:
        yield registry


@pytest.fixture
def watcher(etcd: Etcd) -> Iterator[EtcdRegistry]:
    """Another one, which only follows."""
    with EtcdRegistry(etcd.address, prefix="/") as watcher:
        yield watcher


# --- followers that were away ---


class Proxy:
    """A way to etcd that can be cut: `silence` lets nothing through what is open, and says nothing; `cut` ends and refuses."""

    def __init__(self, port: int) -> None:
        self._target = port
        self._ways: list[Way] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._is_cut = False
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    def silence(self) -> None:
        for way in self._ways:
            way.is_silent = True

    def cut(self) -> None:
        self._is_cut = True
        for way in self._ways:
            way.close()

    def mend(self) -> None:
        self._is_cut = False

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join()
        for way in self._ways:
            way.close()
            way.join()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            if self._is_cut:
                client.close()
            else:
                self._ways.append(Way(client, socket.create_connection(("127.0.0.1", self._target))))


class Way:
    def __init__(self, client: socket.socket, server: socket.socket) -> None:
        self.is_silent = False
        self._ends = (client, server)
        self._threads = [
            threading.Thread(target=self._carry, args=ends, daemon=True) for ends in (self._ends, self._ends[::-1])
        ]
        for thread in self._threads:
            thread.start()

    def close(self) -> None:
        for end in self._ends:
            try:
                end.shutdown(socket.SHUT_RDWR)
            except OSError:
                continue  # it has ended

    def join(self) -> None:
        for thread in self._threads:
            thread.join()
        for end in self._ends:
            end.close()

    def _carry(self, source: socket.socket, sink: socket.socket) -> None:
        try:
            while data := source.recv(65536):
                if not self.is_silent:
                    sink.sendall(data)
        except OSError:
            pass  # the other end has gone; so do we
        self.close()


@contextmanager
def way_to(etcd: Etcd) -> Iterator[Proxy]:
    proxy = Proxy(etcd.port)
    try:
        yield proxy
    finally:
        proxy.close()


def test_a_compaction_while_the_watch_was_away_loses_nothing(
    etcd: Etcd, registry: EtcdRegistry, record_property: Record
) -> None:
    registry.put_all({"a/same": "1", "a/changed": "1", "a/deleted": "1", "a/again": "1"})
    heard = Heard()
    with way_to(etcd) as way, EtcdRegistry(way.address, prefix="/") as watcher, watcher.follow("a", heard.append):
        before = len(heard)
        way.cut()
        registry.put("a/changed", "2")
        registry.put("a/changed", "3")
        registry.delete("a/deleted")
        registry.delete("a/again")
        registry.put("a/again", "1")
        registry.put("a/new", "1")
        etcd.ctl("compact", str(etcd.revision()))
        way.mend()
        soon(record_property, "in step", lambda: heard.state() == registry.subtree("a"))
        registry.put("a/end", "1")
        heard.until(put("a/end", "1"))
    assert set(heard[before:-1]) == {gone("a/deleted"), put("a/changed", "3"), put("a/new", "1")}
    assert len(heard) == before + 4


def test_a_connection_that_falls_silent_is_noticed_by_who_only_follows(
    etcd: Etcd, registry: EtcdRegistry, record_property: Record
) -> None:
    registry.put("a", "1")
    heard = Heard()
    with way_to(etcd) as way, EtcdRegistry(way.address, prefix="/") as watcher, watcher.follow("a", heard.append):
        way.silence()
        registry.put("a", "2")
        soon(record_property, "heard over a new connection", lambda: put("a", "2") in heard, 3 * DEADLINE_S)
        registry.put("a", "3")
        heard.until(put("a", "3"))
    assert heard == [put("a", "1"), put("a", "2"), put("a", "3")]


def test_an_instance_that_only_changed_while_the_watch_was_away_is_not_told_to_have_left(
    etcd: Etcd, registry: EtcdRegistry
) -> None:
    with (
        way_to(etcd) as way,
        EtcdRegistry(way.address, prefix="/") as watcher,
        Discovery(RegistrySource(registry, PropertyPerKey())) as ours,
        Discovery(RegistrySource(watcher, PropertyPerKey())) as theirs,
        theirs.watch("printer") as watch,
    ):
        before = {"dpi": "600", "color": "yes"}
        theirs_last = None
        instance = ours.register("printer", id="a1", address="10.0.0.1:80", properties=before)
        other = ours.register("printer", id="a2", address="10.0.0.1:80")
        assert [watch.next(DEADLINE_S) for _ in range(2)]
        way.cut()
        instance.update({"dpi": "600", "duplex": "yes", "a": "1", "zone": "b"})
        other.unregister()
        way.mend()
        known = {"a1", "a2"}
        told: set[tuple[str, str]] = set()
        while known != {"a1"} or theirs_last != instance.instance:
            event = watch.next(DEADLINE_S)
            assert event is not None
            told.add((event.kind, event.instance.id))
            if event.kind == "left":
                known.discard(event.instance.id)
            else:
                known.add(event.instance.id)
                theirs_last = event.instance
    assert told == {("changed", "a1"), ("left", "a2")}


def test_who_only_follows_says_once_that_etcd_is_away_and_once_that_it_is_back(
    etcd: Etcd, registry: EtcdRegistry, caplog: pytest.LogCaptureFixture
) -> None:
    heard = Heard()
    with (
        way_to(etcd) as way,
        EtcdRegistry(way.address, prefix="/") as watcher,
        watcher.follow("a", heard.append),
        watcher.follow("b", heard.append),
    ):
        way.cut()
        wait_until(lambda: "does not answer" in caplog.text, "that it is away is said")
        registry.put_all({"a": "1", "b": "1"})
        way.mend()
        heard.until(put("a", "1"), put("b", "1"))
    assert caplog.text.count("does not answer") == caplog.text.count("is back") == 1


# --- several addresses ---


def test_a_dead_address_before_the_right_one_does_no_harm(etcd: Etcd) -> None:
    heard = Heard()
    with (
        EtcdRegistry(f"127.0.0.1:{free_port()},{etcd.address}") as registry,
        registry.lease(TTL_S) as lease,
        registry.follow("a", heard.append),
    ):
        registry.put("a", "1", lease=lease)
        heard.until(put("a", "1"))


def test_a_silent_address_before_the_right_one_does_no_harm(etcd: Etcd) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"127.0.0.1:{silent.getsockname()[1]},{etcd.address}"
        with EtcdRegistry(address, timeout_s=DEADLINE_S) as registry:
            assert registry.put("a", "1")
