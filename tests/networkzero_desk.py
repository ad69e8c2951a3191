"""A node with the NetworkZero link for tests without a network: its clock and its wire are the test's."""

from __future__ import annotations

import json
from collections import Counter
from random import Random

from hypothesis import strategies as st

from nwdisco import config
from nwdisco.core.advert import Advert
from nwdisco.core.directory import Directory, Event
from nwdisco.core.networkzero import Heard, Imports, as_reached, decode
from nwdisco.core.networkzero_exports import Exports
from nwdisco.core.refused import Refused

EVERY_S, TTL_S, SILENT_S = config.NETWORKZERO_EVERY_S, config.NETWORKZERO_TTL_S, config.NETWORKZERO_SILENT_S
IP, OTHER_IP = "10.0.0.7", "10.1.0.7"


class Desk:
    """A node with the link, on a clock and a wire of the test's own."""

    def __init__(self, node: str = "node-one", seed: int = 1) -> None:
        self.now = 1000.0
        self.counters: Counter[str] = Counter()
        self.directory = Directory(node)
        self.events: list[tuple[str, str, str]] = []
        self.directory.on_event.append(lambda e: self.events.append((e.kind, e.advert.name, e.advert.address)))
        self.lives: dict[str, float] = {}
        self.heard = Heard()
        self.imports = Imports(self.directory, self.counters, self.now)
        self.exports = Exports(
            self.directory, Random(seed), self.heard, self.counters, lambda a: self.lives.get(a.name, TTL_S), self.now
        )
        self.exports.ips = (IP,)
        self.directory.on_event.append(self._changed)
        self.told: list[tuple[float, str, str, float | None]] = []
        """When, name, address, time to live."""
        self.others: list[Desk] = []

    def _changed(self, event: Event) -> None:
        self.exports.changed(event, self.now)

    def hear(self, data: bytes, ip: str = "10.0.0.9") -> None:
        """As the link does."""
        try:
            said = decode(data)
        except Refused as refused:
            self.counters[refused.code] += 1
            return
        address = as_reached(said.address, ip, {IP})
        since = self.heard.note(said.name, address, self.now)
        self.exports.heard(said.name, address, said.ttl_s, self.now)
        if not said.by_nwdisco:
            self.imports.hear(said, address, since, self.now)

    def say(self, name: str, address: str, ttl_s: float | None = 20) -> None:
        """A program of NetworkZero's broadcasts an advert."""
        self.hear(json.dumps([name, address, ttl_s]).encode())

    def put(self, name: str, address: str = "a:1", node: str = "", **fields: object) -> None:
        node = node or self.directory.node
        rank = self.directory.next_rank(name, self.now)
        self.directory.put(Advert(name, address, {}, 5.0, node, node + "#p", self.now, rank, **fields))  # type: ignore[arg-type]

    def remove(self, name: str, node: str = "") -> None:
        self.directory.remove((node or self.directory.node) + "#p", name)

    def step(self, to: float) -> bool:
        """The next thing that is due up to then."""
        dues = [due for due in (self.exports.due, self.imports.due) if due is not None and due <= to]
        if not dues:
            self.now = max(self.now, to)
            return False
        self.now = max(self.now, min(dues))
        self.imports.expire(self.now)
        self.exports.wake(self.now)
        while self.exports.outbox:
            data, ip = self.exports.outbox.popleft()
            assert ip in self.exports.ips
            name, address, ttl_s = json.loads(data)
            self.told.append((self.now, name, address, ttl_s))
            for other in self.others:
                other.now = max(other.now, self.now)
                other.hear(data, IP)
        return True

    def run(self, for_s: float = 0.0) -> list[tuple[float, str, str, float | None]]:
        """Let time pass; what was told meanwhile."""
        before, until = len(self.told), self.now + for_s
        while self.step(until):
            pass
        return self.told[before:]

    def names(self) -> set[str]:
        return {advert.name for advert in self.directory.all()}


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)


"""For hypothesis: any JSON, most of it wrong."""


def run_together(desks: list[Desk], for_s: float) -> None:
    """Several nodes that hear each other's datagrams."""
    until = desks[0].now + for_s
    for desk in desks:
        desk.others = [other for other in desks if other is not desk]
    while any([desk.step(min(until, desk.now + 0.01)) or desk.now < until for desk in desks]):
        pass
