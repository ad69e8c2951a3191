"""The leases of registrations, on a clock of the test's own."""

from __future__ import annotations

from math import inf

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nwdisco import config
from nwdisco.core.advert import Advert
from nwdisco.core.directory import Directory
from nwdisco.core.refused import Refused
from nwdisco.core.registrations import HEAP_SLACK, Registrations

LEASE_S, GRACE_S = config.SHIM_HEARTBEAT_S, config.SHIM_GRACE_S


class Desk:
    def __init__(self) -> None:
        self.directory = Directory("node-one")
        self.events: list[tuple[str, str]] = []
        self.directory.on_event.append(lambda event: self.events.append((event.kind, event.advert.name)))
        self.leases = Registrations(self.directory, "node-one#shim")

    def register(
        self,
        name: str,
        now: float,
        ttl_s: float = LEASE_S,
        grace_s: float = GRACE_S,
        uuid: str = "",
        address: str = "a:1",
        lease_s: float | None = None,
    ) -> None:
        rank = self.directory.next_rank(name, now)
        advert = Advert(name, address, {}, ttl_s, "node-one", self.leases.holder, now, rank)
        self.leases.put(advert, grace_s, now, uuid, lease_s)

    def run_to(self, now: float) -> None:
        """As the driver does: wake when something is due."""
        while (due := self.leases.due) is not None and due <= now:
            self.leases.expire(due, 1000)

    def names(self) -> set[str]:
        return {advert.name for advert in self.directory.all()}


@pytest.fixture
def desk() -> Desk:
    return Desk()


def test_a_registration_ends_at_its_lease_and_grace_and_not_before(desk: Desk) -> None:
    desk.register("hive/u", 10, uuid="u")
    desk.run_to(10 + LEASE_S + GRACE_S - 0.001)
    assert desk.names() == {"hive/u"}
    desk.run_to(10 + LEASE_S + GRACE_S)
    assert desk.names() == set()
    assert not desk.leases.renew_by_uuid("u", 10 + LEASE_S + GRACE_S)
    assert desk.events == [("joined", "hive/u"), ("left", "hive/u")]


def test_a_heartbeat_every_five_seconds_and_a_little_keeps_it_listed_without_a_flicker(desk: Desk) -> None:
    desk.register("hive/u", 0, uuid="u")
    now = 0.0
    for _ in range(1000):
        now += LEASE_S + GRACE_S - 0.01
        desk.run_to(now)
        assert desk.leases.renew_by_uuid("u", now)
    assert desk.events == [("joined", "hive/u")]


def test_a_heartbeat_that_is_read_late_by_a_beacon_that_was_held_up_still_counts(desk: Desk) -> None:
    desk.register("hive/u", 0, uuid="u")
    assert desk.leases.renew_by_uuid("u", LEASE_S + GRACE_S + 1)
    desk.run_to(LEASE_S + GRACE_S + 2)
    assert desk.names() == {"hive/u"}


def test_its_lease_runs_strictly_under_five_seconds_and_then_it_is_late_for_half_its_grace(desk: Desk) -> None:
    desk.register("hive/u", 0)
    assert desk.leases.lease_until("hive/u") == LEASE_S
    wait_s = config.SHIM_LATE_WAIT_S
    assert not desk.leases.is_late("hive/u", LEASE_S - 0.001, LEASE_S - 0.001)
    assert desk.leases.is_late("hive/u", LEASE_S, LEASE_S + wait_s - 0.001)
    assert not desk.leases.is_late("hive/u", LEASE_S, LEASE_S + wait_s)
    desk.leases.renew("hive/u", LEASE_S + 0.1)
    assert desk.leases.lease_until("hive/u") == LEASE_S + 0.1 + LEASE_S
    assert not desk.leases.is_late("hive/u", LEASE_S, LEASE_S + 0.15)


def test_the_same_registration_once_more_renews_and_tells_nobody(desk: Desk) -> None:
    desk.register("redis", 0, ttl_s=30, grace_s=0)
    desk.register("redis", 20, ttl_s=30, grace_s=0)
    assert desk.events == [("joined", "redis")]
    desk.run_to(49)
    assert desk.names() == {"redis"}
    desk.run_to(50)
    assert desk.names() == set()


def test_another_address_or_time_to_live_replaces_it(desk: Desk) -> None:
    desk.register("redis", 0, ttl_s=30, grace_s=0)
    desk.register("redis", 1, ttl_s=30, grace_s=0, address="b:2")
    assert desk.events == [("joined", "redis"), ("changed", "redis")]
    desk.register("redis", 2, ttl_s=5, grace_s=0, address="b:2")
    desk.run_to(7)
    assert desk.names() == set()


def test_who_registers_a_key_over_a_type_s_name_has_it_without_grace_and_its_uuid_is_void(desk: Desk) -> None:
    desk.register("hive/u", 0, uuid="u")
    desk.register("hive/u", 1, ttl_s=2, grace_s=0)
    assert not desk.leases.renew_by_uuid("u", 2)
    desk.run_to(3)
    assert desk.names() == set()


def test_what_is_taken_back_is_gone_at_once_with_its_uuid(desk: Desk) -> None:
    desk.register("hive/u", 0, uuid="u")
    assert desk.leases.remove("hive/u")
    assert desk.names() == set()
    assert not desk.leases.renew_by_uuid("u", 1)
    assert not desk.leases.remove("hive/u")
    assert len(desk.leases) == 0


def test_past_the_limit_a_newcomer_is_refused_and_those_there_can_still_renew_and_change(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(config, "MAX_SHIM_REGISTRATIONS", 3)
    for name in ("a", "b", "c"):
        desk.register(name, 0)
    with pytest.raises(Refused, match="3 registrations at most"):
        desk.register("d", 0)
    desk.register("a", 1, address="other:1")
    assert desk.leases.renew("b", 1)
    assert desk.names() == {"a", "b", "c"}
    desk.leases.remove("c")
    desk.register("d", 1)
    assert desk.names() == {"a", "b", "d"}


def test_a_full_directory_refuses_and_keeps_no_lease(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(config, "MAX_ADVERTS", 1)
    desk.register("a", 0)
    with pytest.raises(Refused, match="directory is full"):
        desk.register("b", 0)
    assert len(desk.leases) == 1


def test_no_more_leases_end_at_once_than_asked_and_the_rest_is_due(desk: Desk) -> None:
    for number in range(10):
        desk.register(str(number), 0)
    desk.leases.expire(100, 4)
    assert len(desk.leases) == 6
    due = desk.leases.due
    assert due is not None
    assert due <= 100


def test_a_client_that_shortens_and_lengthens_its_timeout_for_ever_takes_no_memory(desk: Desk) -> None:
    for number in range(10_000):
        desk.register("redis", number / 1000, ttl_s=80_000 - number if number % 2 else 86_000)
    assert len(desk.leases._dates) <= 2 + HEAP_SLACK


def test_a_lease_may_be_another_than_the_time_to_live_and_one_without_end_ends_when_it_is_taken_back(
    desk: Desk,
) -> None:
    desk.register("short", 0, ttl_s=5, grace_s=0, lease_s=1)
    desk.register("endless", 0, ttl_s=5, grace_s=0, lease_s=inf)
    desk.run_to(1)
    assert desk.names() == {"endless"}
    assert desk.leases.due is None
    desk.register("endless", 2, ttl_s=5, grace_s=0, lease_s=10)
    desk.run_to(12)
    assert desk.names() == set()
    desk.register("endless", 20, ttl_s=5, grace_s=0, lease_s=10)
    desk.register("endless", 21, ttl_s=5, grace_s=0, lease_s=inf)
    desk.run_to(10_000)
    assert desk.names() == {"endless"}
    assert desk.leases.due is None
    assert desk.leases.remove("endless")
    assert desk.names() == set()


names = st.sampled_from(["a", "b", "c"])
steps = st.lists(
    st.one_of(
        st.tuples(st.just("register"), names, st.sampled_from([1.0, 5.0, 30.0])),
        st.tuples(st.just("renew"), names, st.just(0.0)),
        st.tuples(st.just("remove"), names, st.just(0.0)),
        st.tuples(st.just("wait"), st.just(""), st.floats(0.01, 10)),
    ),
    max_size=60,
)


@given(steps)
def test_whatever_is_done_what_is_listed_is_what_a_plain_table_of_dates_would_list(
    done: list[tuple[str, str, float]],
) -> None:
    desk = Desk()
    table: dict[str, tuple[float, float]] = {}
    now = 0.0
    for action, name, seconds in done:
        if action == "wait":
            now += seconds
            desk.run_to(now)
            table = {key: kept for key, kept in table.items() if sum(kept) > now}
        elif action == "register":
            desk.register(name, now, ttl_s=seconds, grace_s=0)
            table[name] = (now, seconds)
        elif action == "renew":
            assert desk.leases.renew(name, now) == (name in table)
            if name in table:
                table[name] = (now, table[name][1])
        else:
            assert desk.leases.remove(name) == (name in table)
            table.pop(name, None)
        assert desk.names() == set(table)
        assert len(desk.leases) == len(table)
