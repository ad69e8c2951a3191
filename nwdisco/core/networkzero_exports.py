"""The directory's adverts, told to NetworkZero's programs in their own datagrams, over and over, and withdrawn when they go.

Own adverts are told at once. Another node's only where nobody else is heard to tell them, so that several nodes with this
link do not say everything several times. Within a budget: with very many adverts, the rounds get longer, and so do the
lives that are told. Pure: changes, what was heard, and the time in; datagrams out, each for one interface.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable
from heapq import heapify, heappop, heappush
from math import ceil, inf
from random import Random

from .. import config
from .advert import Advert
from .budget import Budget
from .directory import Directory, Event
from .networkzero import Heard, encode, is_from_networkzero

HEAP_SLACK = 64
"""The heap of dates is rebuilt when it is twice as long as the table, and this much more."""
FIRST = 0.0
"""The date of what goes before all that is due."""
BUDGET_LOOK_S = 0.02
"""With the budget spent: how long until the next look."""


class _Export:
    __slots__ = ("advert", "due", "goodbyes", "heard_until", "told_until")

    def __init__(self, advert: Advert) -> None:
        self.advert = advert
        self.due = inf
        """When it is told next: the date in the heap that counts."""
        self.told_until = 0.0
        """Until when somebody may have it from us ..."""
        self.heard_until = 0.0
        """... and from others who tell it."""
        self.goodbyes: list[float] | None = None
        """Once it has gone: gaps until the withdrawals that are still to be sent."""


class Exports:
    def __init__(
        self,
        directory: Directory,
        random: Random,
        heard: Heard,
        counters: Counter[str],
        life_of: Callable[[Advert], float],
        now: float,
    ) -> None:
        """`life_of` gives the seconds that NetworkZero is to keep an advert, `inf` for ever."""
        self.ips: tuple[str, ...] = ()
        """This machine's, one for each interface that is used."""
        self.paused = False
        self.outbox: deque[tuple[bytes, str]] = deque()
        """Datagrams, each with the IP of the interface out of whose broadcast address it goes."""
        self._directory = directory
        self._random = random
        self._heard = heard
        self._counters = counters
        self._life_of = life_of
        self._exports: dict[str, _Export] = {}
        self._living = 0
        self._dates: list[tuple[float, str]] = []
        self._budget = Budget(config.NETWORKZERO_PER_S, now)
        self._not_before = 0.0
        for advert in directory.all():
            self.changed(Event("joined", advert), now)

    def __len__(self) -> int:
        return self._living

    @property
    def due(self) -> float | None:
        """When `wake` wants to be called."""
        return max(self._dates[0][0], self._not_before) if self._dates and not self.paused else None

    # --- what happens ---

    def changed(self, event: Event, now: float) -> None:
        """Something else is visible."""
        advert = event.advert
        if event.kind == "left":
            self._gone(advert.name, now)
        elif is_from_networkzero(advert):
            self._forget(advert.name)  # they tell it themselves
        else:
            self._there(advert, now)

    def heard(self, name: str, address: str, ttl_s: float, now: float) -> None:
        """Somebody else tells this: another node's advert needs no second voice while that lasts."""
        export = self._exports.get(name)
        if export is None or export.advert.address != address or self._is_own(export.advert):
            return
        if ttl_s <= 0 and export.goodbyes is not None:
            self._forget(name)
        elif ttl_s > 0 and export.goodbyes is None:
            export.heard_until = now + ttl_s
            self._plan(export, now + self._patience_s())

    def wake(self, now: float) -> None:
        """Tell what is due."""
        while not self.paused and self._dates and self._dates[0][0] <= now:
            due, name = self._dates[0]
            export = self._exports.get(name)
            if export is None or export.due != due:
                heappop(self._dates)
                continue
            if not self._budget.take(now):
                self._not_before = now + BUDGET_LOOK_S
                return
            heappop(self._dates)
            if export.goodbyes is None:
                self._tell(export, now)
            else:
                self._say_goodbye(export, now)

    def stop(self) -> None:
        """The last words: what stood on this node goes with it. Other nodes' adverts live on, and others tell them."""
        own = [e for e in self._exports.values() if e.goodbyes is not None or self._is_own(e.advert)]
        for export in own[: config.NETWORKZERO_LAST_WORDS]:
            self._send(export.advert, 0)

    # --- inside ---

    def _there(self, advert: Advert, now: float) -> None:
        export = self._exports.get(advert.name)
        if export is None:
            export = self._exports[advert.name] = _Export(advert)
            self._living += 1
        elif export.goodbyes is not None:
            export.goodbyes = None
            self._living += 1
        elif export.advert.address == advert.address and export.due < inf:
            export.advert = advert
            return
        export.advert = advert
        if self._is_own(advert):
            self._plan(export, now)
        elif self._heard.lately(advert.name, advert.address, now):
            self._plan(export, now + self._patience_s())
        else:
            self._plan(export, now + self._random.random() * config.NETWORKZERO_LATER_S)

    def _gone(self, name: str, now: float) -> None:
        export = self._exports.get(name)
        if export is None or export.goodbyes is not None:
            return
        if max(export.told_until, export.heard_until) <= now:
            self._forget(name)
            return
        self._living -= 1
        export.goodbyes = list(config.NETWORKZERO_GOODBYE_S)
        if export.told_until > now:
            self._plan(export, FIRST)
        else:  # who told it may have gone with it, and may be about to say so
            self._plan(export, now + (0.5 + 0.5 * self._random.random()) * config.NETWORKZERO_LATER_S)

    def _forget(self, name: str) -> None:
        export = self._exports.pop(name, None)
        if export is not None and export.goodbyes is None:
            self._living -= 1

    def _tell(self, export: _Export, now: float) -> None:
        round_s = self._round_s()
        life_s = self._life_of(export.advert)
        told_s = max(1.0, life_s if life_s == inf or round_s == config.NETWORKZERO_EVERY_S else self._stretched(life_s))
        if not self._send(export.advert, told_s):
            self._counters["left_out"] += 1
            export.due = inf  # told when it changes
            return
        export.told_until = now + told_s
        self._plan(export, now + round_s * (0.95 + 0.1 * self._random.random()))

    def _stretched(self, life_s: float) -> float:
        return ceil(life_s * self._round_s() / config.NETWORKZERO_EVERY_S)

    def _say_goodbye(self, export: _Export, now: float) -> None:
        self._send(export.advert, 0)
        if export.goodbyes:
            self._plan(export, now + export.goodbyes.pop(0))
        else:
            self._forget(export.advert.name)

    def _send(self, advert: Advert, ttl_s: float) -> bool:
        """False when it does not fit one datagram of NetworkZero's."""
        port = advert.address_on_the_wire
        datagrams = []
        for ip in self.ips:
            address = ip + port if advert.picked and self._is_own(advert) else advert.address
            datagrams.append((encode(advert.name, address, ttl_s), ip))
        if any(len(data) > config.MAX_NETWORKZERO_BYTES for data, _ in datagrams):
            return False
        self.outbox += datagrams
        return True

    def _is_own(self, advert: Advert) -> bool:
        return advert.node == self._directory.node

    def _round_s(self) -> float:
        per_s = config.NETWORKZERO_PER_S * config.NETWORKZERO_ROUND_SHARE
        return max(config.NETWORKZERO_EVERY_S, self._living / per_s)

    def _patience_s(self) -> float:
        """How long to be silent about what somebody else tells: longer than their round, and never as long as another's."""
        silent_s = max(config.NETWORKZERO_SILENT_S, 3 * self._round_s())
        return silent_s + self._random.random() * config.NETWORKZERO_EVERY_S

    def _plan(self, export: _Export, due: float) -> None:
        export.due = due
        heappush(self._dates, (due, export.advert.name))
        if len(self._dates) > 2 * len(self._exports) + HEAP_SLACK:
            self._dates = [(e.due, name) for name, e in self._exports.items() if e.due < inf]
            heapify(self._dates)
