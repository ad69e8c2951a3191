"""A LAN in memory on a fake clock: the real protocol objects, a network that loses, delays, doubles and splits.

Deterministic: the same seed gives the same run, datagram for datagram.
"""

from __future__ import annotations

from base64 import urlsafe_b64encode
from collections.abc import Callable, Iterable
from heapq import heappop, heappush
from itertools import count
from random import Random

from nwdisco import config
from nwdisco.core import datagrams
from nwdisco.core.advert import Advert
from nwdisco.core.directory import Directory
from nwdisco.core.lan import Lan
from nwdisco.core.telling import BROADCAST, EVERYONE, MULTICAST

Address = tuple[str, int]

_decoded: dict[bytes, datagrams.Message] = {}
_decode = datagrams.decode


def decode_once(data: bytes) -> datagrams.Message:
    """What a thousand hosts receive is decoded once."""
    message = _decoded.get(data)
    if message is None:
        if len(_decoded) > 10_000:
            _decoded.clear()
        message = _decoded[data] = _decode(data)
    return message


class Host:
    """One simulated machine: a directory and the LAN protocol, wired as the beacon wires them."""

    def __init__(self, world: World, number: int) -> None:
        self.world = world
        self.number = number
        self.address: Address = (f"10.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}", 40000)
        self.alive = True
        node = urlsafe_b64encode(world.random.randbytes(6)).decode()
        self.directory = Directory(node)
        self.lan = Lan(self.directory, Random(world.random.random()), world.now)
        self.timers = self.lan._timers
        self.directory.on_own.append(lambda name, advert: self.lan.own_change(name, advert, world.now))
        self.wake_at = float("inf")
        self.sent_bytes = 0

    def advertise(
        self, name: str, address: str = ":8080", ttl_s: float = config.TTL_S, properties: dict[str, str] | None = None
    ) -> None:
        picked = address.startswith(":")
        self.directory.put(
            Advert(
                name=name,
                address=self.address[0] + address if picked else address,
                properties=properties or {},
                ttl_s=ttl_s,
                node=self.directory.node,
                holder="program",
                born=self.world.now,
                rank=self.directory.next_rank(name, self.world.now),
                picked=picked,
            )
        )
        self.world.after(self)

    def unadvertise(self, name: str) -> None:
        self.directory.remove("program", name)
        self.world.after(self)

    def names(self) -> list[str]:
        return [advert.name for advert in self.directory.all()]

    def view(self) -> list[tuple[str, str, str]]:
        """What a program there would see, and from which node."""
        return [(advert.name, advert.address, advert.node) for advert in self.directory.all()]


class World:
    def __init__(self, seed: int, loss: float = 0.0, doubled: float = 0.0, delay_s: tuple[float, float] = (1e-4, 5e-4)):
        self.random = Random(seed)
        self.now = 0.0
        self.loss = loss
        self.doubled = doubled
        self.delay_s = delay_s
        self.multicast = True
        self.broadcast = True
        self.split: Callable[[Host, Host], bool] | None = None
        """Whether a datagram from one host to the other is cut off."""
        self.hosts: list[Host] = []
        self.by_address: dict[Address, Host] = {}
        self.delivered = 0
        self._events: list[tuple[float, int, tuple[Host, ...], bytes | None, Address, bool]] = []
        """When, in which order, to whom, what (None: a wake-up), from where, to it alone."""
        self._order = count()

    def host(self) -> Host:
        """A new machine that starts its beacon now."""
        host = Host(self, len(self.hosts) + 1)
        self.hosts.append(host)
        self.by_address[host.address] = host
        host.lan.start(self.now)
        self.after(host)
        return host

    def add_hosts(self, number: int, over_s: float = 0.0) -> list[Host]:
        """So many machines, their starts spread over some seconds."""
        added = []
        for _ in range(number):
            added.append(self.host())
            if over_s:
                self.run(over_s / number)
        return added

    def kill(self, host: Host) -> None:
        """The power goes: no goodbye."""
        host.alive = False

    def leave(self, host: Host) -> None:
        host.lan.stop()
        self.after(host)
        host.alive = False

    def move(self, host: Host, ip: str) -> None:
        """A new lease from DHCP."""
        del self.by_address[host.address]
        host.address = (ip, host.address[1])
        self.by_address[host.address] = host
        host.lan.moved(self.now)
        self.after(host)

    def inject(self, data: bytes, source: Address, to: Host, direct: bool = False) -> None:
        """A datagram from anywhere arrives at a host now."""
        to.lan.receive(data, source, self.now, direct)
        self.after(to)

    def after(self, host: Host) -> None:
        """Carry off what a host wants sent, and plan its next wake-up."""
        while host.lan.outbox:
            data, to = host.lan.outbox.popleft()
            if isinstance(to, tuple):
                host.sent_bytes += len(data) + 42
                target = self.by_address.get(to)
                if target is not None:
                    self._carry(host, [target], data, True)
                continue
            if to in (EVERYONE, MULTICAST) and self.multicast:
                self._spread(host, data)
            if to in (EVERYONE, BROADCAST) and self.broadcast:
                self._spread(host, data)
        due = host.lan.due
        if due is not None and due < host.wake_at:
            host.wake_at = due
            heappush(self._events, (due, next(self._order), (host,), None, host.address, False))

    def run(self, seconds: float) -> None:
        self.run_until(lambda: False, seconds)

    def run_until(self, done: Callable[[], bool], limit_s: float, every_s: float = 0.0) -> float:
        """Let time pass until the condition holds or the limit; seconds passed.

        The condition is looked at once in each `every_s` in which anything happens (0: after everything), and at the end.
        """
        began_at, end = self.now, self.now + limit_s
        look_at = self.now
        while self._events and self._events[0][0] <= end:
            at = self._events[0][0]
            if at > look_at:  # what happens at one instant happens before anybody looks
                if done():
                    return self.now - began_at
                look_at = at + every_s
            self.now = max(self.now, at)
            self._happen(*heappop(self._events))
        if done():
            return self.now - began_at
        self.now = end
        return limit_s

    def _happen(
        self, at: float, _: int, hosts: tuple[Host, ...], data: bytes | None, source: Address, direct: bool
    ) -> None:
        now = self.now
        for host in hosts:
            lan = host.lan
            if not host.alive:
                continue
            if data is not None:
                self.delivered += 1
                lan.receive(data, source, now, direct)
            elif at == host.wake_at:  # or else it was planned anew since
                host.wake_at = float("inf")
                lan.wake(now)
            else:
                continue
            if lan.outbox or (host.timers.due or 0.0) < host.wake_at:
                self.after(host)

    def _spread(self, sender: Host, data: bytes) -> None:
        sender.sent_bytes += len(data) + 42
        others = [host for host in self.hosts if host is not sender and host.alive]
        self._carry(sender, others, data, False)

    def _carry(self, sender: Host, to: list[Host], data: bytes, direct: bool) -> None:
        if not sender.alive:
            return
        if self.split is not None:
            to = [host for host in to if not self.split(sender, host)]
        if self.loss:
            to = [host for host in to if self.random.random() >= self.loss]
        if self.doubled:
            to = [host for host in to for _ in range(1 + (self.random.random() < self.doubled))]
        low, high = self.delay_s
        if low == high:  # one event for all, for speed
            heappush(self._events, (self.now + low, next(self._order), tuple(to), data, sender.address, direct))
            return
        for host in to:
            at = self.now + self.random.uniform(low, high)
            heappush(self._events, (at, next(self._order), (host,), data, sender.address, direct))


def all_see(hosts: Iterable[Host], names: set[str]) -> bool:
    return all(set(host.names()) == names for host in hosts)
