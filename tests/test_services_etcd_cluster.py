"""The registry on a cluster of etcds: a member that has lost the others is left for the next one."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass

import pytest

from nwdisco.errors import RegistryUnavailableError
from nwdisco.services.etcd import EtcdRegistry
from tests.etcd import Etcd, Record, cluster, missing_etcd, running, soon
from tests.machines import DEADLINE_S
from tests.registry_tools import Heard, put

pytestmark = pytest.mark.skipif(missing_etcd() is not None, reason=str(missing_etcd()))


@dataclass(frozen=True)
class Parted:
    """Of a cluster of two, one can stand still: the other has no leader then, and answers pings all the same.
    An etcd of its own stands for members that still have each other."""

    member: Etcd
    other: Etcd
    majority: Etcd

    @property
    def addresses(self) -> str:
        return f"{self.member.address},{self.majority.address}"


@pytest.fixture
def parted() -> Iterator[Parted]:
    with running() as majority, cluster(2) as (member, other):
        yield Parted(member, other, majority)


def test_a_member_that_has_lost_the_others_is_left_by_who_follows_and_by_who_calls(
    parted: Parted, record_property: Record
) -> None:
    heard = Heard()
    with ExitStack() as stack:
        follower = stack.enter_context(EtcdRegistry(parted.addresses))
        for key in ("a", "b", "c"):
            stack.enter_context(follower.follow(key, heard.append))
        patient = stack.enter_context(EtcdRegistry(parted.addresses, timeout_s=DEADLINE_S))
        assert patient.put("a", "member's")
        heard.until(put("a", "member's"))
        parted.majority.ctl("put", "a", "the majority's")
        parted.other.pause()
        with pytest.raises(RegistryUnavailableError, match="etcdserver: request timed out"):
            patient.get("a")
        assert patient.get("a") == "the majority's"
        soon(record_property, "heard from the majority", lambda: put("a", "the majority's") in heard)
        parted.majority.ctl("put", "c", "1")
        heard.until(put("c", "1"))


def test_a_cluster_that_elects_another_leader_loses_nothing(record_property: Record) -> None:
    heard = Heard()
    with cluster(3) as members:
        addresses = ",".join(member.address for member in members)
        with EtcdRegistry(addresses, timeout_s=DEADLINE_S) as registry, registry.follow("a", heard.append):
            registry.put("a", "before")
            (leader,) = [member for member in members if leads(member)]
            leader.kill()
            soon(record_property, "written again", lambda: writes(registry, "a", "after"))
            soon(record_property, "followed", lambda: heard.state() == {"a": "after"})


def leads(member: Etcd) -> bool:
    (said,) = json.loads(member.ctl("endpoint", "status", "--write-out=json"))
    return bool(said["Status"]["leader"] == said["Status"]["header"]["member_id"])


def writes(registry: EtcdRegistry, key: str, value: str) -> bool:
    try:
        return registry.put(key, value)
    except RegistryUnavailableError:
        return False
