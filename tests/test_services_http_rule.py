"""When a request is made again: the table, and a client that keeps to it whatever instances do."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nwdisco.errors import AddressError
from nwdisco.services import (
    Discovery,
    MemoryRegistry,
    RegistrySource,
    ServiceClient,
)
from nwdisco.services.http_calls import Away
from nwdisco.services.retrying import FAILURES, IDEMPOTENT, SAME_INSTANCE, Failure, failure, may_repeat
from tests.service_clients import Counting

# --- the rule --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE", "get", "POST", "PATCH", "JUMP"])
@pytest.mark.parametrize("repeatable", [None, True, False])
def test_a_request_that_was_not_sent_can_go_to_another_whatever_it_asks(method: str, repeatable: bool | None) -> None:
    assert may_repeat(Failure.UNREACHED, method, repeatable, body_is_there=True)


@pytest.mark.parametrize("failed", [Failure.BROKEN, Failure.LATE])
@pytest.mark.parametrize(
    ("method", "by_itself"),
    [
        *((method, True) for method in sorted(IDEMPOTENT)),
        ("get", True),
        ("POST", False),
        ("PATCH", False),
        ("X", False),
    ],
)
def test_one_that_was_sent_is_made_again_if_its_method_is_idempotent_or_the_caller_says_so(
    failed: Failure, method: str, by_itself: bool
) -> None:
    assert may_repeat(failed, method, None, body_is_there=True) is by_itself
    assert may_repeat(failed, method, True, body_is_there=True)
    assert not may_repeat(failed, method, False, body_is_there=True)


@pytest.mark.parametrize("failed", Failure)
def test_nothing_is_made_again_without_its_body(failed: Failure) -> None:
    assert not may_repeat(failed, "PUT", True, body_is_there=False)


def test_every_error_of_a_transport_is_decided_on() -> None:
    def kinds(of: type[Exception]) -> Iterator[type[Exception]]:
        for kind in of.__subclasses__():
            yield from kinds(kind) if kind.__subclasses__() else [kind]

    nobodys_fault = {httpx.PoolTimeout, httpx.ProxyError, httpx.LocalProtocolError}
    assert {kind for kind in kinds(httpx.TransportError) if kind.__module__ == "httpx"} == {
        kind for kind in FAILURES if issubclass(kind, httpx.TransportError)
    } | nobodys_fault
    assert all(failure(kind("")) is None for kind in nobodys_fault)
    assert set(SAME_INSTANCE) == set(Failure)


def test_a_more_special_error_counts_as_the_one_that_it_is_a_kind_of() -> None:
    class Reset(httpx.ReadError):
        pass

    assert failure(Reset("")) is Failure.BROKEN
    assert failure(AddressError("")) is Failure.UNREACHED
    assert failure(KeyboardInterrupt()) is None


@given(
    st.lists(
        st.tuples(st.sampled_from(["failed", "answered", "later"]), st.sampled_from("abc"), st.floats(0, 10)),
        max_size=40,
    )
)
def test_who_failed_is_kept_away_from_for_so_long_or_until_it_answers(steps: list[tuple[str, str, float]]) -> None:
    now = 0.0
    away, until = Away(5.0, lambda: now), dict[str, float]()
    for step, id, seconds in steps:
        if step == "failed":
            away.failed(id)
            until[id] = now + 5
        elif step == "answered":
            away.answered(id)
            until.pop(id, None)
        else:
            now += seconds
        assert away.now() == {id for id, end in until.items() if end > now}


# --- a client that keeps to it ------------------------------------------------------------------------------

FAULTS: dict[str, type[httpx.TransportError]] = {
    "refuses": httpx.ConnectError,
    "breaks": httpx.ReadError,
    "is late": httpx.ReadTimeout,
    "lets nobody in": httpx.PoolTimeout,
}


@settings(max_examples=60)
@given(
    ways=st.lists(st.sampled_from(["answers", *FAULTS]), min_size=1, max_size=5),
    method=st.sampled_from(["GET", "PUT", "POST", "PATCH"]),
    repeatable=st.sampled_from([None, True, False]),
    attempts=st.integers(1, 7),
    calls=st.integers(1, 3),
)
def test_whatever_instances_do_a_call_ends_as_promised(
    ways: list[str], method: str, repeatable: bool | None, attempts: int, calls: int
) -> None:
    sent: list[str] = []

    def handle(request: httpx.Request) -> httpx.Response:
        way = ways[int(request.url.port or 0) - 1]
        sent.append(way)
        if way in FAULTS:
            raise FAULTS[way](way)
        return httpx.Response(503, text="answers")

    counting = Counting()
    with Discovery(RegistrySource(MemoryRegistry())) as discovery:
        for number, _ in enumerate(ways, start=1):
            discovery.register("shop", id=f"i{number}", address=f"10.0.0.1:{number}")
        with ServiceClient(
            "shop",
            discovery=discovery,
            strategy=counting,
            attempts=attempts,
            wait_s=0,
            transport=httpx.MockTransport(handle),
        ) as client:
            for _ in range(calls):
                sent.clear()
                try:
                    ended = client.request(method, "/", repeatable=repeatable).text
                except httpx.TransportError as error:
                    ended = str(error)
                assert ended == sent[-1]
                assert counting.under_way == 0
                assert len(sent) <= attempts
                again = repeatable if repeatable is not None else method in IDEMPOTENT
                for way in sent[:-1]:
                    assert way == "refuses" or (again and way in ("breaks", "is late")), sent
                for way in ("refuses", "is late", "answers"):
                    assert sent.count(way) <= ways.count(way), "nobody is asked twice but who broke"
                harmless = {"answers", "refuses"} | ({"breaks", "is late"} if again else set())
                if "answers" in ways and harmless.issuperset(ways) and attempts >= len(ways):
                    assert sent[-1] == "answers"
