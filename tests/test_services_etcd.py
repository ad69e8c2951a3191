"""The registry in etcd keeps what every registry promises, what programs that share it rely on, and what it promises of its own;
and discovery works over it, in every schema."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from uuid import uuid4

import pytest

from nwdisco.errors import RegistryError
from nwdisco.services.discovery import Discovery
from nwdisco.services.etcd import EtcdRegistry
from nwdisco.services.registered import RegistrySource
from nwdisco.services.registry import Change
from nwdisco.services.schema import HostPort, JsonPerInstance, PropertyPerKey, Schema
from tests.documents import Document
from tests.etcd import Etcd, missing_etcd
from tests.machines import DEADLINE_S, wait_until
from tests.registry_contract import SharedRegistryContract
from tests.registry_tools import TTL_S, Heard, at_once, gone, put

pytestmark = pytest.mark.skipif(missing_etcd() is not None, reason=str(missing_etcd()))

SCHEMAS: dict[str, Schema] = {"property": PropertyPerKey(), "json": JsonPerInstance(), "plain": HostPort()}


@contextmanager
def running() -> Iterator[Etcd]:
    """An etcd, closed in any case."""
    etcd = Etcd()
    try:
        etcd.start()
        yield etcd
    finally:
        etcd.close()


@pytest.fixture(scope="module")
def etcd() -> Iterator[Etcd]:
    with running() as etcd:
        yield etcd


@pytest.fixture
def prefix() -> str:
    return f"/{uuid4().hex}/"


@pytest.fixture
def registry(etcd: Etcd, prefix: str) -> Iterator[EtcdRegistry]:
    with EtcdRegistry(etcd.address, prefix=prefix) as registry:
        yield registry


@pytest.fixture
def another(etcd: Etcd, prefix: str) -> Iterator[EtcdRegistry]:
    with EtcdRegistry(etcd.address, prefix=prefix) as another:
        yield another


class TestEtcdRegistry(SharedRegistryContract):
    """With the fixtures above."""


def program(etcd: Etcd, text: str) -> subprocess.Popen[str]:
    """A Python program that finds this etcd in its environment."""
    return subprocess.Popen(
        [sys.executable, "-c", text],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "NWDISCO_ETCD": etcd.address},
    )


def ended(etcd: Etcd, text: str) -> tuple[int, str, str]:
    """Such a program's status, output and complaints, when it has ended by itself."""
    started = program(etcd, text)
    try:
        output, complaints = started.communicate(timeout=60)
    finally:
        started.kill()
    return started.returncode, output, complaints


def threads_of_registries() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("nwdisco: ")]


# --- in etcd ---


def test_a_prefix_stands_before_each_key_as_it_is(etcd: Etcd) -> None:
    top = uuid4().hex
    for prefix in ("", "/", f"{top}."):
        with EtcdRegistry(etcd.address, prefix=prefix) as registry:
            assert registry.put(f"{top}/services/printer/a1", "host:1")
            assert etcd.ctl("get", "--print-value-only", f"{prefix}{top}/services/printer/a1") == "host:1\n"
            assert registry.subtree(top) == {f"{top}/services/printer/a1": "host:1"}
            assert registry.delete_subtree(top) == 1


def test_what_stands_under_other_prefixes_is_not_touched(etcd: Etcd, registry: EtcdRegistry, prefix: str) -> None:
    neighbour = prefix.replace("/", "0")
    etcd.ctl("put", neighbour, "1")
    registry.put_all({"a": "1", "a/b": "1"})
    assert registry.delete_subtree("") == 2
    assert etcd.ctl("get", "--print-value-only", neighbour) == "1\n"


def test_what_etcdctl_puts_and_deletes_is_told(etcd: Etcd, registry: EtcdRegistry, prefix: str) -> None:
    heard = Heard()
    with registry.follow("printer", heard.append):
        etcd.ctl("put", f"{prefix}printer/a1", "host:1")
        heard.until(put("printer/a1", "host:1"))
        etcd.ctl("del", "--prefix", f"{prefix}printer")
        heard.until(gone("printer/a1"))


def test_the_id_of_a_lease_is_the_one_in_etcd(etcd: Etcd, registry: EtcdRegistry) -> None:
    with registry.lease(10.2) as lease:
        assert lease.ttl_s == 11
        assert f"{int(lease.id):016x}" in etcd.ctl("lease", "list")
        assert "TTL(11s)" in etcd.ctl("lease", "timetolive", f"{int(lease.id):x}")
    assert f"{int(lease.id):016x}" not in etcd.ctl("lease", "list")


def test_more_keys_than_a_page_are_read_at_one_moment(registry: EtcdRegistry) -> None:
    values = {f"a/{number:04}": str(number) for number in range(2500)}
    for first in range(0, 2500, 100):
        registry.put_all(dict(list(values.items())[first : first + 100]))
    assert registry.subtree("") == values
    assert registry.delete_subtree("a") == 2500


# --- programs, threads, forks ---


def test_what_a_program_put_under_a_lease_outlives_its_kill_by_the_lease_at_most(
    etcd: Etcd, registry: EtcdRegistry, prefix: str
) -> None:
    text = f"""
from nwdisco.services.etcd import EtcdRegistry
registry = EtcdRegistry(prefix={prefix!r})
registry.put("a", "1", lease=registry.lease({TTL_S}))
input()
"""
    heard = Heard()
    with registry.follow("", heard.append):
        started = program(etcd, text)
        try:
            heard.until(put("a", "1"))
        finally:
            started.kill()
            started.communicate()
        heard.until(gone("a"))


def test_a_program_ends_although_it_closes_nothing(etcd: Etcd, prefix: str) -> None:
    text = f"""
from nwdisco.services.etcd import EtcdRegistry
registry = EtcdRegistry(prefix={prefix!r})
registry.put("a", "1", lease=registry.lease({TTL_S}))
print(registry.watch("").next(20))
"""
    assert ended(etcd, text) == (0, "Change(kind='put', key='a', value='1')\n", "")


def test_ctrl_c_ends_a_call_that_waits() -> None:
    text = """
import os, signal, sys, threading
from nwdisco.services.etcd import EtcdRegistry
registry = EtcdRegistry(timeout_s=100)
os.kill(int(sys.stdin.readline()), signal.SIGSTOP)
calls = [lambda: registry.get("a"), lambda: registry.follow("a", print), lambda: registry.lease(10)]
for call in calls:
    threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGINT)).start()
    try:
        call()
    except KeyboardInterrupt:
        print("ended", flush=True)
registry.close()
"""
    with running() as etcd:
        started = program(etcd, text)
        try:
            assert started.communicate(f"{etcd.pid}\n", timeout=60) == ("ended\n" * 3, "")
            assert started.returncode == 0
        finally:
            started.kill()


def test_the_child_of_a_fork_is_told_that_it_cannot_use_it(etcd: Etcd, prefix: str) -> None:
    text = f"""
import os
from nwdisco.errors import RegistryError
from nwdisco.services.etcd import EtcdRegistry

def tried(call):
    try:
        call()
    except RegistryError as error:
        print("before you fork" in str(error), flush=True)

registry = EtcdRegistry(prefix={prefix!r})
lease = registry.lease(10)
registry.put("a", "parent", lease=lease)
watch = registry.watch("")
child = os.fork()
if child == 0:
    for call in (lambda: registry.get("a"), lambda: registry.put("a", "child"), lease.renew, EtcdRegistry):
        tried(call)
    watch.close()
    registry.close()
    os._exit(0)
print(os.waitpid(child, 0)[1], registry.get("a"), lease.renew())
registry.close()
if os.fork() == 0:
    with EtcdRegistry(prefix={prefix!r}) as registry:
        print(registry.put("a", "grandchild"), flush=True)
    os._exit(0)
os.wait()
"""
    code, output, _ = ended(etcd, text)
    assert (code, output) == (0, "True\n" * 4 + "0 parent True\nTrue\n")


def test_registries_come_and_go_and_leave_no_thread_and_no_file(etcd: Etcd, prefix: str) -> None:
    def use() -> None:
        heard = Heard()
        for number in range(3):
            with EtcdRegistry(etcd.address, prefix=prefix, timeout_s=DEADLINE_S) as registry:
                registry.follow("", heard.append)
                registry.watch("a")
                registry.put(f"a/{threading.get_ident()}/{number}", "1", lease=registry.lease(TTL_S))

    def files() -> int:
        return len(os.listdir("/proc/self/fd"))

    use()
    before = files()
    at_once([use] * 6)
    wait_until(lambda: not threads_of_registries(), "the end of the threads")
    wait_until(lambda: files() <= before, f"no more than {before} files")
    with EtcdRegistry(etcd.address, prefix=prefix) as registry:
        assert registry.subtree("") == {}


def test_calls_that_wait_while_it_is_closed_end_with_an_error() -> None:
    with running() as etcd:
        registry = EtcdRegistry(etcd.address, timeout_s=100)
        etcd.pause()
        waiting = threading.Event()

        def call() -> str:
            waiting.set()
            with pytest.raises(RegistryError) as caught:
                registry.get("a")
            return str(caught.value)

        def close() -> str:
            waiting.wait(DEADLINE_S)
            registry.close()
            return ""

        said, _ = at_once([call, close])
        assert "closed" in said


# --- callbacks ---


def test_who_takes_long_over_a_change_keeps_nobody_else_waiting(registry: EtcdRegistry) -> None:
    heard = Heard()
    go_on = threading.Event()
    slow: list[Change] = []

    def take_long(change: Change) -> None:
        go_on.wait(DEADLINE_S)
        slow.append(change)

    registry.follow("a", take_long)
    registry.follow("a", heard.append)
    with registry.lease(TTL_S) as lease:
        registry.put("a", "1", lease=lease)
        heard.until(put("a", "1"))
    heard.until(gone("a"))
    assert slow == []
    go_on.set()
    wait_until(lambda: slow == [put("a", "1"), gone("a")], "the slow one")


def test_close_does_not_wait_for_a_callback_and_none_is_called_after_it(registry: EtcdRegistry) -> None:
    under_way, go_on = threading.Event(), threading.Event()
    heard = Heard()

    def take_long(change: Change) -> None:
        heard.append(change)
        under_way.set()
        go_on.wait(DEADLINE_S)

    registry.follow("a", take_long)
    registry.put("a", "1")
    registry.put("a", "2")
    under_way.wait(DEADLINE_S)
    registry.close()
    go_on.set()
    wait_until(lambda: not threads_of_registries(), "the end of the thread")
    assert heard == [put("a", "1")]


@pytest.mark.parametrize("is_there", [True, False])
def test_a_callback_may_close_the_registry(registry: EtcdRegistry, is_there: bool) -> None:
    heard = Heard()

    def on_change(change: Change) -> None:
        heard.append(change)
        registry.close()

    if is_there:
        registry.put_all({"a/1": "1", "a/2": "1"})
    registry.follow("a", on_change)
    if not is_there:
        registry.put("a/1", "1")
    wait_until(lambda: not threads_of_registries(), "the end of the threads")
    assert heard == [put("a/1", "1")]


# --- discovery ---


@pytest.mark.parametrize("schema", SCHEMAS)
def test_discovery_over_etcd(registry: EtcdRegistry, another: EtcdRegistry, schema: str) -> None:
    with (
        Discovery(RegistrySource(registry, SCHEMAS[schema])) as ours,
        Discovery(RegistrySource(another, SCHEMAS[schema])) as theirs,
        theirs.watch("printer") as watch,
    ):
        registration = ours.register("printer", address="10.0.0.1:80", ttl_s=TTL_S)
        joined = watch.next(DEADLINE_S)
        assert joined is not None
        assert (joined.kind, joined.instance.address) == ("joined", "10.0.0.1:80")
        assert theirs.locate("printer", wait_s=DEADLINE_S).address == "10.0.0.1:80"
        assert theirs.services() == ["printer"]
        registration.update({"port": "81"})
        wait_until(lambda: theirs.locate("printer").address == "10.0.0.1:81", "the other port")
        registration.unregister()
        wait_until(lambda: theirs.pool("printer").instances() == [], "nobody any more")
        assert theirs.instances("printer") == []
        kinds = [event.kind for event in iter(lambda: watch.next(0.1), None)]
        assert (kinds[0], kinds[-1]) == ("changed", "left")


@pytest.mark.parametrize("schema", SCHEMAS)
def test_an_instance_whose_program_is_killed_leaves_within_its_lease(
    etcd: Etcd, another: EtcdRegistry, prefix: str, schema: str
) -> None:
    text = f"""
from nwdisco.services.discovery import Discovery
from nwdisco.services.etcd import EtcdRegistry
from nwdisco.services.registered import RegistrySource
from nwdisco.services.schema import HostPort, JsonPerInstance, PropertyPerKey
registry = EtcdRegistry(prefix={prefix!r})
discovery = Discovery(RegistrySource(registry, {type(SCHEMAS[schema]).__name__}()))
discovery.register("printer", address="10.0.0.1:80", ttl_s={TTL_S})
input()
"""
    with Discovery(RegistrySource(another, SCHEMAS[schema])) as discovery:
        started = program(etcd, text)
        try:
            assert discovery.locate("printer", wait_s=60).address == "10.0.0.1:80"
        finally:
            started.send_signal(signal.SIGKILL)
            started.communicate()
        wait_until(lambda: discovery.pool("printer").instances() == [], "it left")
        assert discovery.instances("printer") == []


# --- the page ---


def test_the_program_to_copy_shows_what_the_page_says() -> None:
    (text,) = (b.text for b in Document("registry.md").of_kind("python") if "import EtcdRegistry" in b.text)
    (output,) = (block.text for block in Document("registry.md").of_kind("text"))
    with running() as etcd:
        assert ended(etcd, text) == (0, output + "\n", "")
