"""Whoever waits in a discovery: for how long, what ends it, and what does not hold it up."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from nwdisco import FOREVER
from nwdisco.services import Discovery, MemoryRegistry, RegistrySource
from nwdisco.services.registry import Following
from nwdisco.services.sources import OnEvent
from tests.machines import DEADLINE_S, wait_until


@pytest.fixture
def registry() -> Iterator[MemoryRegistry]:
    with MemoryRegistry() as registry:
        yield registry


@pytest.fixture
def discovery(registry: MemoryRegistry) -> Iterator[Discovery]:
    with Discovery(RegistrySource(registry)) as discovery:
        yield discovery


@pytest.mark.parametrize("what", ["source", "registry"])
def test_a_watch_ends_for_all_who_wait_when_what_it_follows_is_closed(registry: MemoryRegistry, what: str) -> None:
    source = RegistrySource(registry)
    discovery = Discovery(source)
    watch = discovery.watch("printer")
    waiting = [threading.Thread(target=watch.next) for _ in range(3)]
    for thread in waiting:
        thread.start()
    (source if what == "source" else registry).close()
    for thread in waiting:
        thread.join(DEADLINE_S)
        assert not thread.is_alive()
    assert watch.has_ended
    assert watch.next() is None
    assert source._kept == set()
    discovery.close()


def test_locate_waits_for_ever_if_told_so_and_for_no_time_that_is_none(discovery: Discovery) -> None:
    for wrong in (float("nan"), -1):
        with pytest.raises(ValueError, match="0 or more seconds, or FOREVER"):
            discovery.locate("printer", wait_s=wrong)
        with pytest.raises(ValueError, match="0 or more seconds, or FOREVER"):
            discovery.watch("printer").next(wrong)
    late = threading.Timer(0.05, lambda: discovery.register("printer", address="127.0.0.1:80", id="late"))
    late.start()
    assert discovery.locate("printer", wait_s=FOREVER).id == "late"
    late.join()


def test_a_source_that_is_slow_with_one_service_holds_up_no_other(registry: MemoryRegistry) -> None:
    is_asked, may_answer = threading.Event(), threading.Event()

    class Slow(RegistrySource):
        def follow(self, cluster: str, service: str, on_event: OnEvent) -> Following:
            if service == "lamp":
                is_asked.set()
                may_answer.wait(DEADLINE_S)
            return super().follow(cluster, service, on_event)

    with Discovery(Slow(registry)) as discovery:
        discovery.register("printer", address="127.0.0.1:80", id="a")
        assert discovery.locate("printer").id == "a"
        slow = threading.Thread(target=discovery.pool, args=("lamp",))
        slow.start()
        assert is_asked.wait(DEADLINE_S)
        found: list[str] = []
        quick = threading.Thread(target=lambda: found.append(discovery.locate("printer").id))
        quick.start()
        try:
            wait_until(lambda: found == ["a"], "the printer, while the lamp's answer is awaited", DEADLINE_S / 2)
        finally:
            may_answer.set()
            slow.join()
            quick.join()
