"""Registrations: adverts of programs that keep no connection open, each on a lease that is renewed by heartbeats.

All of one such object stand in the directory under one holder. A registration ends by its lease alone (or when it is
taken back), and a grace later its advert is removed. A pure object: times are handed in, `due` says when `expire` wants to
be called.
"""

from __future__ import annotations

from heapq import heapify, heappop, heappush
from math import inf

from .. import config
from .advert import Advert
from .directory import Directory
from .refused import Refused

HEAP_SLACK = 64
"""The heap of dates is rebuilt when it is twice as long as the table, and this much more."""


class Lease:
    __slots__ = ("life_s", "look_at", "name", "renewed_at", "ttl_s", "uuid")

    def __init__(self, name: str, uuid: str, ttl_s: float, grace_s: float, now: float) -> None:
        self.name = name
        self.uuid = uuid
        """What its heartbeats name it by; "" for its name."""
        self.ttl_s = ttl_s
        self.life_s = ttl_s + grace_s
        self.renewed_at = now
        self.look_at = 0.0
        """The date in the heap that counts; others of this name there are of no use any more."""

    @property
    def ends_at(self) -> float:
        return self.renewed_at + self.life_s


class Registrations:
    def __init__(self, directory: Directory, holder: str) -> None:
        self.holder = holder
        self._directory = directory
        self._leases: dict[str, Lease] = {}
        """By name."""
        self._names: dict[str, str] = {}
        """By uuid."""
        self._dates: list[tuple[float, str]] = []
        """When to look at which name: a heap."""

    def __len__(self) -> int:
        return len(self._leases)

    @property
    def due(self) -> float | None:
        """When `expire` wants to be called."""
        return self._dates[0][0] if self._dates else None

    def put(self, advert: Advert, grace_s: float, now: float, uuid: str = "", lease_s: float | None = None) -> None:
        """Register, replace, or (the same once more) renew. Raises Refused, and then nothing has changed.

        The lease is the advert's time to live unless another is given; one of `inf` ends only when it is taken back.
        """
        name = advert.name
        lease = self._leases.get(name)
        if lease is None and len(self._leases) >= config.MAX_SHIM_REGISTRATIONS:
            most = config.MAX_SHIM_REGISTRATIONS
            raise Refused(
                "over_limit", f"this beacon keeps {most} registrations at most, and has them: try again later"
            )
        there = self._directory.held(self.holder, name)
        same = there is not None and (there.says_the_same_as(advert) and there.ttl_s == advert.ttl_s)
        if not same and not self._directory.put(advert):
            raise Refused("over_limit", f"the directory is full: it holds {config.MAX_ADVERTS} adverts")
        ttl_s = advert.ttl_s if lease_s is None else lease_s
        if lease is None:
            lease = self._leases[name] = Lease(name, uuid, ttl_s, grace_s, now)
            if uuid:
                self._names[uuid] = name
        else:
            if lease.uuid != uuid:  # somebody else's registration took the name
                self._names.pop(lease.uuid, None)
                lease.uuid = uuid
            lease.ttl_s, lease.life_s, lease.renewed_at = ttl_s, ttl_s + grace_s, now
        if not lease.look_at or lease.ends_at < lease.look_at:
            self._look(lease, lease.ends_at)

    def renew(self, name: str, now: float) -> bool:
        """A heartbeat; False when there is no such registration (any more)."""
        lease = self._leases.get(name)
        if lease is None:
            return False
        lease.renewed_at = now
        return True

    def renew_by_uuid(self, uuid: str, now: float) -> bool:
        name = self._names.get(uuid)
        return name is not None and self.renew(name, now)

    def remove(self, name: str) -> bool:
        """Take one back; False when there was none."""
        lease = self._leases.pop(name, None)
        if lease is None:
            return False
        self._names.pop(lease.uuid, None)
        self._directory.remove(self.holder, name)
        return True

    def expire(self, now: float, most: int) -> None:
        """End the leases that have run out, `most` of them at once: `due` is in the past when there are more."""
        while self._dates and self._dates[0][0] <= now and most:
            look_at, name = heappop(self._dates)
            lease = self._leases.get(name)
            if lease is None or lease.look_at != look_at:
                continue
            most -= 1
            if lease.ends_at <= now:
                self.remove(name)
            else:
                self._look(lease, lease.ends_at)

    def lease_until(self, name: str) -> float:
        """When its lease ends, by its last heartbeat and without the grace; long ago where there is none."""
        lease = self._leases.get(name)
        return lease.renewed_at + lease.ttl_s if lease is not None else -inf

    def is_late(self, name: str, at: float, now: float) -> bool:
        """Whether its lease had run out at a moment, and its heartbeat is still waited for by now."""
        lease = self._leases.get(name)
        if lease is None:
            return False
        ended_at = lease.renewed_at + lease.ttl_s
        return at >= ended_at and now < min(ended_at + config.SHIM_LATE_WAIT_S, lease.ends_at)

    def _look(self, lease: Lease, at: float) -> None:
        lease.look_at = at
        if at == inf:
            return
        heappush(self._dates, (at, lease.name))
        if len(self._dates) > 2 * len(self._leases) + HEAP_SLACK:
            self._dates = [(lease.look_at, name) for name, lease in self._leases.items() if lease.look_at < inf]
            heapify(self._dates)
