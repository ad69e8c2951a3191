"""What NetworkZero's programs ask the beacon of their machine, and the answers: JSON lists, [action, parameter ...].

A program's advert stands until it is taken back (which NetworkZero does at the program's exit), replaced, or until a
reset: nothing tells that its program was killed. A bad request is answered null, as theirs are; what was wrong is in
`notes`. A pure object: requests in, `outbox` out, with a clock that is handed in.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable
from functools import partial
from heapq import heapify, heappop, heappush
from itertools import count
from math import inf, isfinite
from typing import Any

import msgspec
from msgspec import Struct

from .. import config
from ..errors import AdvertError
from . import names
from .advert import Advert
from .directory import Directory, Event

Client = tuple[bytes, ...]
"""Where an answer goes; the driver's business."""
Text = str | int | None


class Advertise(Struct, array_like=True, tag="advertise"):
    name: str
    address: Text = None
    fail_if_exists: bool | int | None = False
    ttl_s: float | None = config.NETWORKZERO_TTL_S


class Unadvertise(Struct, array_like=True, tag="unadvertise"):
    name: str


class Discover(Struct, array_like=True, tag="discover"):
    name: str
    wait_for_s: float | None = 0.0


class DiscoverAll(Struct, array_like=True, tag="discover_all"):
    wait_for_s: float | None = 0.0


class Pause(Struct, array_like=True, tag="pause"):
    pass


class Resume(Struct, array_like=True, tag="resume"):
    pass


class Reset(Struct, array_like=True, tag="reset"):
    pass


class Stop(Struct, array_like=True, tag="stop"):
    pass


Request = Advertise | Unadvertise | Discover | DiscoverAll | Pause | Resume | Reset | Stop
_decoder = msgspec.json.Decoder(Request)


class _Wait:
    """A discovery that is not answered yet."""

    __slots__ = ("answered", "client", "name", "until")

    def __init__(self, client: Client, name: str | None, until: float) -> None:
        self.client = client
        self.name = name
        """None: any."""
        self.until = until
        self.answered = False


class Rpc:
    def __init__(
        self,
        directory: Directory,
        clock: Callable[[], float],
        own_ip: Callable[[], str],
        complete: Callable[[Text, Callable[[str | None], None]], None],
        when_settled: Callable[[Callable[[], None]], None],
        pause: Callable[[bool], None],
        forget: Callable[[], None],
    ) -> None:
        """`complete` calls back, at once or later, with "ip:port", ":port" where the IP is to be picked, or None where the

        address is none. `pause` stops and resumes the telling of adverts; `forget` drops what was heard.
        """
        self.holder = f"{directory.node}#networkzero-rpc"
        self.outbox: deque[tuple[Client, bytes]] = deque()
        self.notes: deque[str] = deque()
        """For the log: each kind of wrong request once."""
        self.counters: Counter[str] = Counter()
        self._directory = directory
        self._clock = clock
        self._own_ip = own_ip
        self._complete = complete
        self._when_settled = when_settled
        self._pause = pause
        self._forget = forget
        self._lives: dict[str, float] = {}
        """Of each advert here, by name: what NetworkZero is to be told."""
        self._waiting: dict[str | None, list[_Wait]] = {}
        self._ends: list[tuple[float, int, _Wait]] = []
        """When each of them ends, the next first; and some that were answered before, up to twice as many as may wait."""
        self._order = count()
        self._noted: set[str] = set()
        # By a table: isinstance is slow on msgspec's classes.
        self._acts: dict[type, Callable[[Client, Any], None]] = {
            Advertise: self._advertise,
            Unadvertise: self._unadvertise,
            Discover: self._discover,
            DiscoverAll: self._discover_all,
            Pause: lambda client, _: self._do(client, partial(self._pause, True)),
            Resume: lambda client, _: self._do(client, partial(self._pause, False)),
            Reset: lambda client, _: self._do(client, self._reset),
            Stop: lambda client, _: self._answer(client, None),  # the beacon serves others too
        }

    def __len__(self) -> int:
        """How many adverts stand here."""
        return len(self._lives)

    @property
    def waiting(self) -> int:
        return sum(map(len, self._waiting.values()))

    @property
    def due(self) -> float | None:
        """When `wake` wants to be called."""
        return self._ends[0][0] if self._ends else None

    def life_of(self, advert: Advert) -> float:
        """How long NetworkZero is to keep an advert that it was told; `inf` for ever."""
        if advert.holder == self.holder:
            return self._lives.get(advert.name, config.NETWORKZERO_TTL_S)
        return config.NETWORKZERO_TTL_S

    # --- what happens ---

    def receive(self, client: Client, data: bytes) -> None:
        try:
            request: Request = _decoder.decode(data)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            self._refuse(client, "malformed", f"no request of NetworkZero's: {data[:60]!r}")
            return
        self._acts[type(request)](client, request)

    def malformed(self, what: str) -> None:
        """Something came that nothing can be answered to."""
        self._note("malformed", what)

    def changed(self, event: Event) -> None:
        """Something else is visible: maybe what somebody waits for."""
        if event.kind != "left":
            for wait in (*self._waiting.pop(event.advert.name, ()), *self._waiting.pop(None, ())):
                self._found(wait)

    def wake(self, now: float) -> None:
        """Answer those whose time is up."""
        while self._ends and self._ends[0][0] <= now:
            wait = heappop(self._ends)[2]
            if not wait.answered:
                waiting = self._waiting[wait.name]
                waiting.remove(wait)
                if not waiting:
                    del self._waiting[wait.name]
                self._found(wait)

    # --- requests ---

    def _advertise(self, client: Client, request: Advertise) -> None:
        try:
            names.check_name(request.name)
        except AdvertError as error:
            self._refuse(client, "bad_advert", str(error))
            return
        then = partial(self._complete, request.address, partial(self._put, client, request))
        if request.fail_if_exists:
            self._when_settled(then)
        else:
            then()

    def _put(self, client: Client, request: Advertise, address: str | None) -> None:
        name = request.name
        if address is None:
            self._refuse(client, "bad_address", f"no address: {str(request.address)[:60]!r}")
        elif request.fail_if_exists and self._directory.get(name) is not None:
            self._answer(client, None)
        elif len(self._lives) >= config.MAX_NETWORKZERO_ADVERTS and name not in self._lives:
            self._refuse(client, "over_limit", f"{config.MAX_NETWORKZERO_ADVERTS} adverts of NetworkZero's programs")
        else:
            now = self._clock()
            picked = address.startswith(":")
            life_s = inf if request.ttl_s is None else request.ttl_s
            if not isfinite(life_s) and request.ttl_s is not None:
                life_s = config.NETWORKZERO_TTL_S
            ttl_s = config.TTL_S if life_s == inf else min(max(life_s, config.MIN_TTL_S), config.MAX_TTL_S)
            before = self._lives.get(name)
            self._lives[name] = life_s  # before it is told
            advert = Advert(
                name=name,
                address=self._own_ip() + address if picked else address,
                properties={},
                ttl_s=ttl_s,
                node=self._directory.node,
                holder=self.holder,
                born=now,
                rank=self._directory.next_rank(name, now),
                picked=picked,
            )
            if self._directory.put(advert):
                self._answer(client, advert.address)
            else:
                if before is None:
                    del self._lives[name]
                self._refuse(client, "over_limit", f"the directory is full: it holds {config.MAX_ADVERTS} adverts")

    def _unadvertise(self, client: Client, request: Unadvertise) -> None:
        self._directory.remove(self.holder, request.name)
        self._lives.pop(request.name, None)
        self._answer(client, None)

    def _discover(self, client: Client, request: Discover) -> None:
        if self._directory.get(request.name) is None:
            self._wait(client, request.name, request.wait_for_s)
        else:
            self._found(_Wait(client, request.name, 0.0))

    def _discover_all(self, client: Client, request: DiscoverAll) -> None:
        self._when_settled(partial(self._all_or_wait, client, request.wait_for_s))

    def _all_or_wait(self, client: Client, wait_for_s: float | None) -> None:
        """A list, or wait for its first one: NetworkZero asks again at once when it is empty."""
        if wait_for_s == 0 or self._directory.all():
            self._found(_Wait(client, None, 0.0))
        else:
            self._wait(client, None, wait_for_s)

    def _reset(self) -> None:
        for advert in self._directory.held_by(self.holder):
            self._directory.remove(self.holder, advert.name)
        self._lives.clear()
        self._forget()
        self._pause(False)

    def _do(self, client: Client, action: Callable[[], None]) -> None:
        action()
        self._answer(client, None)

    # --- discoveries ---

    def _wait(self, client: Client, name: str | None, wait_for_s: float | None) -> None:
        wait_s = config.NETWORKZERO_WAIT_S if wait_for_s is None else min(wait_for_s, config.NETWORKZERO_WAIT_S)
        wait = _Wait(client, name, self._clock() + wait_s)
        if not wait_s > 0 or self.waiting >= config.MAX_NETWORKZERO_WAITING:
            self._found(wait)
            return
        if len(self._ends) >= 2 * config.MAX_NETWORKZERO_WAITING:
            self._ends = [end for end in self._ends if not end[2].answered]
            heapify(self._ends)
        self._waiting.setdefault(name, []).append(wait)
        heappush(self._ends, (wait.until, next(self._order), wait))

    def _found(self, wait: _Wait) -> None:
        """Answer with what is there."""
        wait.answered = True
        if wait.name is None:
            self._answer(wait.client, [(advert.name, advert.address) for advert in self._directory.all()])
        else:
            there = self._directory.get(wait.name)
            self._answer(wait.client, None if there is None else there.address)

    # --- answers ---

    def _answer(self, client: Client, answer: object) -> None:
        self.outbox.append((client, msgspec.json.encode(answer)))

    def _refuse(self, client: Client, code: str, what: str) -> None:
        self._note(code, what)
        self._answer(client, None)

    def _note(self, code: str, what: str) -> None:
        self.counters[code] += 1
        if code not in self._noted:
            self._noted.add(code)
            self.notes.append(f"NetworkZero's door: {what} (said once; counted as {code})")
