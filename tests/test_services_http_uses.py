"""Each use of an instance ends: requests and streams, by themselves and many at once, however they go."""

from __future__ import annotations

import asyncio
import itertools
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import Any

import httpx
import pytest

from nwdisco.services import (
    AsyncServiceClient,
)
from tests.service_clients import BOTH, Blocking, Counting, InLoop, Shop, is_asked
from tests.web import Way, WebService, answers, breaks_off, closes, halting, hangs


@pytest.fixture(params=BOTH)
def shop(request: pytest.FixtureRequest) -> Iterator[Shop]:
    with ExitStack() as ends:
        yield Shop(request.param, ends)


# --- uses end --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("way", [answers, closes, breaks_off])
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_each_use_ends_however_it_goes(shop: Shop, way: Way, method: str) -> None:
    for id in "ab":
        shop.instance(id, way)
    shop.refusing("c")
    counting = Counting()
    client = shop.client(strategy=counting)
    for _ in range(6):
        try:
            client.request(method, "/")
        except httpx.TransportError:
            assert way is not answers
        assert counting.under_way == 0


@pytest.mark.parametrize("options", [{"headers": {"\n": ""}}, {"json": object()}, {"cookies": 3}, {"jsn": 1}])
def test_a_use_ends_when_the_request_itself_was_wrong(shop: Shop, options: dict[str, Any]) -> None:
    shop.instance("a")
    counting = Counting()
    client = shop.client(strategy=counting)
    with pytest.raises(Exception, match=r".") as raised:
        client.request("GET", "/", **options)
    assert not hasattr(raised.value, "__notes__")
    assert counting.under_way == 0
    assert client.request("GET", "/").text == "a"


# --- streams ---------------------------------------------------------------------------------------------


def test_a_stream_is_there_when_it_begins_and_in_use_until_it_ends(shop: Shop) -> None:
    a = shop.instance("a", halting(b"begin", b"end"))
    counting = Counting()
    with shop.client(strategy=counting).stream("GET", "/") as pieces:
        assert next(pieces) == b"begin"
        assert counting.under_way == 1
        a.ending.set()
        assert b"".join(pieces) == b"end"
    assert counting.under_way == 0


def test_a_stream_of_one_that_does_not_answer_comes_from_another(shop: Shop) -> None:
    shop.refusing("a")
    shop.instance("b", closes)
    shop.instance("c")
    with shop.client().stream("GET", "/") as pieces:
        assert b"".join(pieces) == b"c"


def test_a_stream_that_breaks_is_raised_and_its_instance_kept_away_from(shop: Shop) -> None:
    a, b = shop.instance("a", breaks_off), shop.instance("b")
    client = shop.client()
    with pytest.raises(httpx.RemoteProtocolError), client.stream("GET", "/") as pieces:
        b"".join(pieces)
    assert is_asked(b) == []
    assert client.request("GET", "/").text == "b"
    assert len(a.asked) == 1


def test_one_that_is_short_enough_to_be_read_ahead_comes_from_another(shop: Shop) -> None:
    a, b = shop.instance("a", breaks_off), shop.instance("b")
    with shop.client().stream("GET", "/", read_ahead=28) as pieces:
        assert b"".join(pieces) == b"b"
    assert len(a.asked) == len(b.asked) == 1


def test_one_that_is_longer_is_not_read_ahead(shop: Shop) -> None:
    a = shop.instance("a", halting(b"begin", b"end"))
    with shop.client().stream("GET", "/", read_ahead=7) as pieces:
        assert next(pieces) == b"begin"
        a.ending.set()


def test_what_was_read_ahead_comes_as_it_was_sent(shop: Shop) -> None:
    shop.instance("a", lambda handler, asked: handler.answer(b"\x1f\x8b?", Content_Encoding="gzip"))
    with shop.client().stream("GET", "/", read_ahead=1000) as pieces:
        assert b"".join(pieces) == b"\x1f\x8b?"


def test_who_leaves_a_stream_early_has_ended_the_use(shop: Shop) -> None:
    shop.instance("a", halting(b"begin", b"end"))
    counting = Counting()
    client = shop.client(strategy=counting)

    class Enough(Exception):
        pass

    with suppress(Enough), client.stream("GET", "/") as pieces:
        next(pieces)
        raise Enough
    assert counting.under_way == 0


# --- many at once ----------------------------------------------------------------------------------------


GUESTS = 5


@contextmanager
def guests_come_and_go(shop: Shop) -> Iterator[None]:
    """One after the other, each of them killed in the middle of what it does, and listed for a while after.

    With more attempts than guests no request can fail: none meets the same guest twice.
    """
    over = threading.Event()

    def come_and_go() -> None:
        for number in range(GUESTS):
            web = WebService(f"guest {number}")
            registration = shop.register(web.name, web.address)
            while len(web.asked) < 10 and not over.wait(0.005):
                continue
            web.close()
            registration.unregister()

    thread = threading.Thread(target=come_and_go)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


@pytest.fixture
def blocking() -> Iterator[Shop]:
    with ExitStack() as ends:
        yield Shop(Blocking, ends)


@pytest.fixture
def in_loop() -> Iterator[Shop]:
    with ExitStack() as ends:
        yield Shop(InLoop, ends)


def test_threads_share_a_client_while_instances_come_and_go(blocking: Shop) -> None:
    blocking.instance("a")
    counting = Counting()
    client = blocking.client(strategy=counting, attempts=GUESTS + 1)
    statuses: list[int] = []

    def ask() -> None:
        statuses.extend([client.request("GET", "/").status_code for _ in range(50)])

    with guests_come_and_go(blocking):
        threads = [threading.Thread(target=ask) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert statuses == [200] * 400
    assert counting.under_way == 0


def test_tasks_share_a_client_while_instances_come_and_go(in_loop: Shop) -> None:
    in_loop.instance("a")
    counting = Counting()
    options: dict[str, Any] = {"discovery": in_loop.discovery, "strategy": counting, "attempts": GUESTS + 1}

    async def ask_all() -> list[int]:
        async with AsyncServiceClient("shop", **options) as client:

            async def ask() -> list[int]:
                return [(await client.get("/")).status_code for _ in range(10)]

            return list(itertools.chain(*await asyncio.gather(*[ask() for _ in range(40)])))

    with guests_come_and_go(in_loop):
        assert asyncio.run(ask_all()) == [200] * 400
    assert counting.under_way == 0


def test_a_task_that_is_cancelled_ends_its_use_and_the_client_goes_on(in_loop: Shop) -> None:
    a = in_loop.instance("a", hangs)
    counting = Counting()

    async def cancel() -> None:
        async with AsyncServiceClient("shop", discovery=in_loop.discovery, strategy=counting, timeout=60) as client:
            asking = asyncio.create_task(client.get("/"))
            while not a.asked:
                await asyncio.sleep(0.005)
            asking.cancel()
            with pytest.raises(asyncio.CancelledError):
                await asking
            assert counting.under_way == 0
            a.way = answers
            assert (await client.get("/")).text == "a"

    asyncio.run(cancel())
    assert counting.under_way == 0


def test_who_waits_for_a_first_instance_can_be_cancelled(in_loop: Shop) -> None:
    async def cancel() -> None:
        async with AsyncServiceClient("shop", discovery=in_loop.discovery, wait_s=3600) as client:
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.1):
                    await client.get("/")

    asyncio.run(cancel())
