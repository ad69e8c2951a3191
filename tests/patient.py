"""A node that counts what each call does, and big nodes for it to hear, for the tests of what is done in turns."""

from __future__ import annotations

from collections.abc import Iterable

from nwdisco.core.advert import Advert
from nwdisco.core.datagrams import Change, Entry, Message
from nwdisco.core.directory import Event
from tests.test_lan import PEER, Address, Node

A_TURN = 700
"""Adverts put or dropped in one call: what one datagram can hold, and a turn of each kind of long work."""
ENOUGH_S = 0.2
"""For 10,000 adverts, when nothing else is to be done."""
BIG = 10_000
PART = 25
"""Adverts in one change: they fit a datagram."""


class Patient(Node):
    """A node that counts how many changes of the directory each call to it makes, and replays what watchers hear."""

    def __init__(self) -> None:
        super().__init__()
        self.most = 0
        self.seen: dict[str, Advert] = {}
        self.events: list[tuple[str, str]] = []
        self.directory.on_event.append(self._replay)
        receive, wake = self.lan.receive, self.lan.wake

        def count_receive(data: bytes, source: Address, now: float, direct: bool = False) -> None:
            before = self.directory.changes
            receive(data, source, now, direct)
            self.most = max(self.most, self.directory.changes - before)

        def count_wake(now: float) -> None:
            before = self.directory.changes
            wake(now)
            self.most = max(self.most, self.directory.changes - before)

        self.lan.receive, self.lan.wake = count_receive, count_wake  # type: ignore[method-assign]

    def _replay(self, event: Event) -> None:
        name = event.advert.name
        self.events.append((event.kind, name))
        if event.kind == "left":
            del self.seen[name]
        else:
            assert (name in self.seen) == (event.kind == "changed"), f"{event.kind} {name} out of order"
            self.seen[name] = event.advert

    def names(self) -> list[str]:
        return [advert.name for advert in self.directory.all()]

    def listed_is_what_watchers_heard(self) -> bool:
        told = {name: (advert.address, advert.node) for name, advert in self.seen.items()}
        return {advert.name: (advert.address, advert.node) for advert in self.directory.all()} == told


def named(number: int) -> str:
    return f"lamp/{number:05}"


def journal(
    node: str, count: int, begin: int = 0, since: int = 0, port: str = ":80", ttl_s: float = 5.0
) -> list[Change]:
    """Changes that add so many adverts, PART each."""
    return [
        Change(
            node,
            20_000 + since + first,
            0,
            0,
            since + first,
            min(since + first + PART, since + count),
            [
                Entry(named(begin + number), since + number + 1, port, ttl_s=ttl_s)
                for number in range(first, min(first + PART, count))
            ],
        )
        for first in range(0, count, PART)
    ]


def hear_all(node: Node, changes: Iterable[Message], source: Address = PEER) -> None:
    for change in changes:
        node.hear(change, source)


def big(count: int = BIG, node_id: str = "node-two", ttl_s: float = 5.0) -> Patient:
    """A node that knows another with so many adverts."""
    node = Patient()
    hear_all(node, journal(node_id, count, ttl_s=ttl_s))
    assert len(node.directory) == count
    node.most = 0
    node.events.clear()
    return node
