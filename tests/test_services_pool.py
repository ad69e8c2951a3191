"""A pool keeps in step with its service, picks without asking anybody, and serves many threads."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator

import pytest

from nwdisco import FOREVER
from nwdisco.errors import NoInstanceError, RegistryError
from nwdisco.services import MemoryRegistry, Pool, Registration, RegistrySource, RoundRobin, ServiceInstance
from nwdisco.services.strategies import Strategies, strategy_of
from tests.machines import DEADLINE_S, wait_until


class Shop:
    """A registry with printers, and pools that follow them."""

    def __init__(self) -> None:
        self.registry = MemoryRegistry()
        self.source = RegistrySource(self.registry)
        self.pools: list[Pool] = []

    def printer(self, id: str, **properties: str) -> Registration:
        return self.source.register("default", "printer", {"port": "80", "hostname": "h", **properties}, id=id)

    def pool(self, strategy: Strategies = "round robin") -> Pool:
        pool = Pool(self.source, "default", "printer", strategy_of(strategy))
        self.pools.append(pool)
        return pool

    def close(self) -> None:
        for pool in self.pools:
            pool.close()
        self.source.close()
        self.registry.close()


@pytest.fixture
def shop() -> Iterator[Shop]:
    shop = Shop()
    yield shop
    shop.close()


def ids(pool: Pool) -> list[str]:
    return sorted(instance.id for instance in pool.instances())


def test_those_that_are_there_are_in_it_from_the_start(shop: Shop) -> None:
    shop.printer("a")
    shop.printer("b")
    pool = shop.pool()
    assert ids(pool) == ["a", "b"]
    assert {pool.pick().id, pool.pick().id} == {"a", "b"}


def test_it_keeps_in_step(shop: Shop) -> None:
    pool = shop.pool()
    first = shop.printer("a")
    wait_until(lambda: ids(pool) == ["a"], "a in the pool")
    first.update({"health": "down"})
    wait_until(lambda: pool.pick().properties.get("health") == "down", "its health")
    shop.printer("b")
    wait_until(lambda: ids(pool) == ["a", "b"], "b in the pool")
    first.unregister()
    wait_until(lambda: ids(pool) == ["b"], "a gone")
    assert {pool.pick().id for _ in range(5)} == {"b"}


def test_a_pick_asks_nobody(shop: Shop) -> None:
    shop.printer("a")
    pool = shop.pool()
    shop.registry._closed = True  # from now on it raises
    assert pool.pick().id == "a"


def test_it_says_why_it_has_none(shop: Shop) -> None:
    pool = shop.pool("healthy")
    with pytest.raises(NoInstanceError, match="there is no instance of 'printer': start one"):
        pool.pick()
    with pytest.raises(NoInstanceError, match=r"no instance of 'printer' after 0\.01 s"):
        pool.pick(wait_s=0.01)
    shop.printer("a", health="down")
    assert pool.wait(DEADLINE_S)
    with pytest.raises(NoInstanceError, match="of 1 instances of 'printer' none may be picked"):
        pool.pick()


def test_avoided_ones_are_not_picked_and_if_nothing_else_is_there_none_is(shop: Shop) -> None:
    shop.printer("a")
    shop.printer("b")
    pool = shop.pool()
    assert {pool.pick({"a"}).id for _ in range(5)} == {"b"}
    with pytest.raises(NoInstanceError, match="none may be picked"):
        pool.pick({"a", "b"})


def test_it_waits_for_the_first(shop: Shop) -> None:
    pool = shop.pool()
    assert not pool.wait(0)
    picked: list[ServiceInstance] = []
    waiting = threading.Thread(target=lambda: picked.append(pool.pick(wait_s=DEADLINE_S)))
    waiting.start()
    shop.printer("a")
    waiting.join(DEADLINE_S)
    assert [instance.id for instance in picked] == ["a"]
    assert pool.wait(0)


def test_a_pick_waits_until_one_is_healthy(shop: Shop) -> None:
    sick = shop.printer("a", health="down")
    pool = shop.pool("healthy")
    picked: list[ServiceInstance] = []
    waiting = threading.Thread(target=lambda: picked.append(pool.pick(wait_s=DEADLINE_S)))
    waiting.start()
    sick.update({"health": "up"})
    waiting.join(DEADLINE_S)
    assert [instance.id for instance in picked] == ["a"]


def test_uses_end_with_done(shop: Shop) -> None:
    shop.printer("a")
    shop.printer("b")
    pool = shop.pool("least used")
    first = pool.pick()
    assert {pool.pick().id, first.id} == {"a", "b"}
    pool.done(first)
    assert pool.pick().id == first.id


def test_a_function_chooses_of_all_that_are_there(shop: Shop) -> None:
    shop.printer("a", load="0.9")
    shop.printer("b", load="0.2")
    pool = shop.pool()
    assert pool.choose(lambda all: min(all, key=lambda one: float(one.properties["load"]))).id == "b"
    with pytest.raises(NoInstanceError):
        pool.choose(lambda all: None)


def test_closed_it_is_empty_and_whoever_waits_is_told(shop: Shop) -> None:
    pool = shop.pool()
    told: list[str] = []

    def wait() -> None:
        try:
            pool.pick(wait_s=DEADLINE_S)
        except NoInstanceError as error:
            told.append(str(error))

    waiting = [threading.Thread(target=wait), threading.Thread(target=lambda: pool.wait(DEADLINE_S))]
    for thread in waiting:
        thread.start()
    pool.close()
    for thread in waiting:
        thread.join(DEADLINE_S)
        assert not thread.is_alive()
    assert told == ["the pool of 'printer' is closed: make a new one"]
    shop.printer("a")
    assert pool.instances() == []
    assert not pool.wait(0)
    pool.close()


def test_it_closes_with_its_registry_and_whoever_waits_for_ever_is_told(shop: Shop) -> None:
    pool = shop.pool()
    raised: list[NoInstanceError] = []

    def wait() -> None:
        try:
            pool.pick(wait_s=FOREVER)
        except NoInstanceError as error:
            raised.append(error)

    waiting = threading.Thread(target=wait)
    waiting.start()
    shop.registry.close()
    waiting.join(DEADLINE_S)
    assert "is closed" in str(raised[0])


def test_a_strategy_of_a_closed_pool_is_empty_and_may_serve_another(shop: Shop) -> None:
    registration = shop.printer("a")
    strategy = RoundRobin()
    shop.pool(strategy).close()
    registration.unregister()
    shop.printer("b")
    pool = shop.pool(strategy)
    assert {pool.pick().id for _ in range(3)} == {"b"}


def test_a_strategy_serves_one_open_pool_whoever_made_it(shop: Shop) -> None:
    strategy = RoundRobin()
    first = shop.pool(strategy)
    with pytest.raises(
        ValueError, match=r"another service or discovery already \('printer'\): give each one of its own"
    ):
        Pool(RegistrySource(shop.registry), "default", "scanner", strategy)
    shop.printer("a")
    assert first.wait(DEADLINE_S)
    assert first.pick().id == "a"


def test_a_strategy_of_a_pool_that_could_not_be_made_may_serve_another(shop: Shop) -> None:
    strategy = RoundRobin()
    closed = MemoryRegistry()
    closed.close()
    with pytest.raises(RegistryError, match="closed"):
        Pool(RegistrySource(closed), "default", "printer", strategy)
    shop.printer("a")
    assert shop.pool(strategy).pick().id == "a"


def test_a_strategy_that_raises_loses_no_other_instance(shop: Shop, caplog: pytest.LogCaptureFixture) -> None:
    class Picky(RoundRobin):
        def joined(self, instance: ServiceInstance) -> None:
            if instance.id == "bad":
                raise ValueError("not this one")
            super().joined(instance)

    shop.printer("bad")
    shop.printer("good")
    pool = shop.pool(Picky())
    assert {pool.pick().id for _ in range(3)} == {"good"}
    assert "not this one" in caplog.text


@pytest.mark.parametrize("strategy", ["round robin", "random", "least used", "weighted", "healthy"])
def test_eight_threads_pick_while_instances_come_and_go(shop: Shop, strategy: str) -> None:
    for number in range(3):
        shop.printer(f"stays {number}")
    pool = shop.pool(strategy)
    over = threading.Event()
    failures: list[BaseException] = []
    counter: Counter[str] = Counter()

    def use() -> None:
        try:
            while not over.is_set():
                instance = pool.pick(avoid={"come and go 1"})
                counter[instance.id] += 1
                pool.done(instance)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=use) for _ in range(8)]
    for thread in threads:
        thread.start()
    for turn in range(60):
        with shop.printer(f"come and go {turn % 3}") as registration:
            registration.update({"weight": "3"})
    wait_until(lambda: failures or sum(counter.values()) > 1000, "a thousand picks")
    over.set()
    for thread in threads:
        thread.join(DEADLINE_S)
    assert failures == []
    assert "come and go 1" not in counter
    wait_until(lambda: ids(pool) == ["stays 0", "stays 1", "stays 2"], "only those who stay")
