"""The shim door: programs with nothing but a TCP socket, in the dialects of core/lines.py and core/framed.py.

A registration outlives its connection; it ends by its lease (core/registrations.py). Anybody who reaches the port is heard,
so everything of a client is bounded: bytes, time, requests at a go; and all clients together: connections, registrations, memory.
"""

from __future__ import annotations

import uuid
from collections import Counter, deque
from collections.abc import Callable

from ... import config
from ...core import lines, shim
from ...core.answers import Answers
from ...core.directory import Directory, Event
from ...core.shim import Answer, Gate, Shim, Wanted
from ..loop import Loop, Timer
from .shim_client import Client

LOOK_EVERY_S = 1.0
"""How often the door looks for clients whose time is up."""


class ShimDoor:
    def __init__(
        self,
        loop: Loop,
        directory: Directory,
        own_ip: Callable[[], str],
        when_settled: Callable[[Callable[[], None]], None],
        most: int = config.MAX_SHIM_CONNECTIONS,
        token: str | None = None,
    ) -> None:
        """`own_ip` completes adverts without one; `when_settled` calls back when the LAN's adverts are known; of clients
        there are `most`; those of other machines have to show the `token`, if there is one."""
        self.loop = loop
        self._token = token
        self.most = most
        self.settled = False
        """Whether the LAN's adverts are known."""
        self._when_settled = when_settled
        self.shim = Shim(directory, own_ip, lambda: str(uuid.uuid4()))
        self.clients: set[Client] = set()
        self.strangers: set[Client] = set()
        """Of these, those of other machines that have not shown the token; where there is none, all of them."""
        self.too_many: set[Client] = set()
        """Of these, those for whom there was no room: they are told so, and are neither served nor counted."""
        self.watching: dict[Wanted, set[Client]] = {}
        self.counters: Counter[str] = Counter()
        """What was refused, by reason."""
        self.answers = Answers(directory)
        self._turn = 0
        self._turn_began_at = 0.0
        self._news: list[tuple[str, bytes]] = []
        """Changes that those who watch have not been told, by name: in one write each, not in one a change."""
        self._long: deque[Callable[[], None]] = deque()
        self._expiry: Timer | None = None
        self._looks = False
        """At its clients, once in a while: when it has some."""
        directory.on_event.append(self._on_event)
        self.when_settled(lambda: None)

    def connection(self, from_here: bool = False) -> Client:
        """A client has connected, from this machine or from another."""
        if not self._looks:
            self._looks = True
            self.loop.call_later(LOOK_EVERY_S, self._look_at_clients)
        return Client(self, from_here, None if from_here or self._token is None else Gate(self._token))

    def why_full(self, for_stranger: bool) -> str:
        """Why one more client cannot be served; empty where it can. Strangers leave room for others."""
        if len(self.clients) - len(self.too_many) >= self.most:
            return f"{self.most} clients are connected, no more can be"
        most = max(1, int(self.most * config.SHIM_STRANGERS_SHARE))
        if for_stranger and len(self.strangers) >= most:
            without = " without the token" if self._token is not None else ""
            return f"{most} clients of other machines{without} are connected, no more can be"
        return ""

    def close(self) -> None:
        for client in tuple(self.clients):
            client.abort()

    def plan_expiry(self) -> None:
        """Be awake when the next lease may end."""
        due = self.shim.registrations.due
        if due is None or (self._expiry is not None and self._expiry.when() <= due):
            return
        if self._expiry is not None:
            self._expiry.cancel()
        self._expiry = self.loop.call_at(due, self._expire)

    def relieve(self, client: Client) -> None:
        """A client does not take its answers: where all that waits is too much, the one with the most has to go."""
        if client.unsent * len(self.clients) <= config.MAX_SHIM_UNSENT:
            return  # it has no more than its share, so somebody else is to blame
        unsent = {one: one.unsent for one in self.clients}
        if sum(unsent.values()) > config.MAX_SHIM_UNSENT:
            self.counters["slow_reader"] += 1
            max(unsent, key=unsent.__getitem__).abort()

    def may_serve(self, now: float) -> bool:
        """Whether there is time for a client in this turn of the loop, or programs and the LAN should have theirs."""
        if self._turn != self.loop.turns:
            self._turn, self._turn_began_at = self.loop.turns, now
        return now - self._turn_began_at < config.SHIM_TURN_S

    def _expire(self, held_up: bool = False) -> None:
        """End the leases that have run out. If we were held up, heartbeats may have come in time that we have not read yet."""
        self._expiry = None
        due, now = self.shim.registrations.due, self.loop.time()
        if due is not None and now - due > config.SHIM_STALLED_S and not held_up:
            self._expiry = self.loop.call_later(config.SHIM_STALLED_S, self._expire, True)
            return
        self.shim.registrations.expire(now, config.SHIM_EXPIRE_AT_ONCE)
        due = self.shim.registrations.due
        if due is not None and due <= now:
            self._expiry = self.loop.call_soon(self._expire, True)  # there were more
        else:
            self.plan_expiry()

    def when_settled(self, action: Callable[[], None]) -> None:
        """Whichever is called back first, it is true for all: the callbacks do not come in one moment."""

        def settled() -> None:
            self.settled = True
            action()

        self._when_settled(settled)

    def in_turn(self, action: Callable[[], None]) -> None:
        """What takes long: one such thing, then everybody else has their turn, then the next."""
        self._long.append(action)
        if len(self._long) == 1:
            self.loop.call_soon(self._next_in_turn)

    def tell_news(self) -> None:
        """What has happened since the last time, to those who watch."""
        news, self._news = self._news, []
        if not news:
            return
        concerned: dict[Wanted, list[bytes]] = {}
        for name, line in news:
            for wanted in shim.concerning(name):
                if wanted in self.watching:
                    concerned.setdefault(wanted, []).append(line)
        for wanted, found in concerned.items():
            together = b"".join(found)
            for client in tuple(self.watching.get(wanted, ())):
                client.tell(together)

    def _next_in_turn(self) -> None:
        if len(self._long) > 1:
            self.loop.call_soon(self._next_in_turn)
        self._long.popleft()()

    def _on_event(self, event: Event) -> None:
        if not self.watching:
            return
        if not self._news:
            self.loop.call_soon(self.tell_news)
        line = lines.encode(Answer(event=event.kind, services=[shim.describe(event.advert)]))
        self._news.append((event.advert.name, line))

    def _look_at_clients(self) -> None:
        self._looks = bool(self.clients)
        if self._looks:
            self.loop.call_later(LOOK_EVERY_S, self._look_at_clients)
        now = self.loop.time()
        for client in tuple(self.clients):
            client.look_at_the_time(now)
