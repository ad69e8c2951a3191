"""One client of the shim door: its bytes, its requests in their order, its answers, its time.

While a request waits, or the client does not take its answers, later requests are left unread.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

from ... import config
from ...core import shim
from ...core.framed import Framed
from ...core.lines import BYTE_ORDER_MARK, Lines
from ...core.refused import Broken, Refused
from ...core.shim import Answer, Gate, Query, QueryKey, Register, RegisterKey, Request, Wanted, Watch, WatchKey

if TYPE_CHECKING:
    from .shim import ShimDoor

LINES_BEGIN = bytes(range(9, 127)) + BYTE_ORDER_MARK[:1]
"""First bytes of the line dialect; a frame's header is too short to begin with one of these."""


class Transport(Protocol):
    """The client's connection: the loop's Stream, or TLS in one."""

    @property
    def sent_late(self) -> int: ...
    def write(self, data: bytes) -> None: ...
    def get_write_buffer_size(self) -> int: ...
    def pause_reading(self) -> None: ...
    def resume_reading(self) -> None: ...
    def write_eof(self) -> None: ...
    def close(self) -> None: ...
    def abort(self) -> None: ...


class Client:
    def __init__(self, door: ShimDoor, from_here: bool, gate: Gate | None = None) -> None:
        """`gate` is for one who has to show a token."""
        self._door = door
        self._from_here = from_here
        self._gate = gate
        self._loop = door.loop
        self._shim = door.shim
        self._dialect: Lines | Framed | None = None
        """Its first byte tells."""
        self._began_at = self._since = door.loop.time()
        """When what it does now began: a message, a pause, the taking of an answer, the end."""
        self._waits = False
        """A request is answered later."""
        self._full = False
        """The client does not take its answers: no more is read before it does."""
        self._ended = False
        """Nothing more is heeded; what was answered may still be on its way."""
        self._unwelcome = ""
        """Why it is one connection too many: it is told so, in its own dialect."""
        self._watches: Wanted | None = None
        self._sent_late = 0
        """How much had gone out when it was last looked at."""
        self._transport: Transport

    @property
    def unsent(self) -> int:
        return self._transport.get_write_buffer_size()

    @property
    def _has_to_show_token(self) -> bool:
        """Still: who has shown it is no stranger."""
        return self._gate is not None and self in self._door.strangers

    # --- what the loop calls ---

    def connection_made(self, transport: Transport) -> None:
        self._transport = transport
        door = self._door
        self._unwelcome = door.why_full(for_stranger=not self._from_here)
        door.clients.add(self)
        if self._unwelcome:
            door.counters["over_limit"] += 1
            door.too_many.add(self)
            if len(door.too_many) > config.SHIM_WAITING_ROOM:
                self.abort()
        elif not self._from_here:
            door.strangers.add(self)

    def data_received(self, data: bytes) -> None:
        if self._ended:
            return
        if self._dialect is None:
            self._dialect = Lines(self._gate) if data[0] in LINES_BEGIN else Framed(self._gate)
        now = self._loop.time()
        if not self._dialect.rest:
            self._since = now
        self._dialect.feed(data)
        if self._unwelcome:
            self._end(Refused("over_limit", self._unwelcome))
        else:
            self._serve_on(now)

    def pause_writing(self) -> None:
        self._full = True
        self._since = self._loop.time()
        self._transport.pause_reading()

    def resume_writing(self) -> None:
        self._full = False
        self._since = self._loop.time()
        if not self._waits:
            self._wait()
            self._loop.call_soon(self._go_on)

    def eof_received(self) -> None:
        if self._dialect is not None and self._dialect.rest and not self._ended:
            self._refuse(Refused("bad_request", "the connection ended within a message (a line ends in a line feed)"))

    def connection_lost(self) -> None:
        self._ended = True
        for clients in (self._door.clients, self._door.strangers, self._door.too_many):
            clients.discard(self)
        self._watch_no_more()

    # --- requests ---

    def _serve_on(self, now: float) -> None:
        """Serve what is there; of much, a part now and the rest when others had their turn."""
        dialect = self._dialect
        if dialect is None:
            return
        if not self._door.may_serve(now):
            self._wait()
            self._loop.call_soon(self._go_on)
            return
        for _ in range(config.SHIM_REQUESTS_AT_ONCE):
            if self._waits or self._full or self._ended:
                return
            try:
                request = dialect.next()
                if request is None:
                    return
                if self._gate is not None:
                    self._door.strangers.discard(self)
                self._since = now
                self._serve(request, now)
            except Broken as broken:
                self._end(broken)
            except Refused as refused:
                self._since = now
                self._refuse(refused)
        if not (self._waits or self._ended):
            self._wait()
            self._loop.call_soon(self._go_on)

    def _serve(self, request: Request, now: float) -> None:
        SERVED_BY.get(type(request), Client._act)(self, request, now)

    def _act(self, request: Request, now: float) -> None:
        self._answer(self._shim.act(request, now))

    def _register(self, request: Register | RegisterKey, now: float) -> None:
        self._act(request, now)
        self._door.answers.forget()  # a lease that had just run out may go on, and that is no change of the directory
        self._door.plan_expiry()

    def _query(self, request: Query | QueryKey, now: float) -> None:
        self._find(request.wanted(), now, now)

    def _find(self, wanted: Wanted, asked_at: float, now: float) -> None:
        """Answer with what is there, once the LAN's adverts are known and no heartbeat is just a moment late."""
        answer = self._door.answers.get((self._dialect.__class__, wanted), now)
        if answer is not None:
            self._write(answer)
        elif not self._door.settled:
            self._wait_until_settled(partial(self._find, wanted, asked_at))
        elif self._shim.is_much(wanted):
            self._wait_for_turn(partial(self._find_all, wanted, asked_at))
        else:
            self._find_all(wanted, asked_at, now)

    def _find_all(self, wanted: Wanted, asked_at: float, now: float) -> None:
        assert self._dialect is not None
        found = self._shim.find(wanted, asked_at, now)
        if found.late:
            self._wait_for(found.late, wanted, asked_at, now)
            return
        answer = self._dialect.encode(Answer(services=found.services))
        if found.services and now < found.until:
            self._door.answers.keep((self._dialect.__class__, wanted), answer, found.until)
        self._write(answer)

    def _wait_for(self, late: list[str], wanted: Wanted, asked_at: float, now: float) -> None:
        while late and not self._shim.registrations.is_late(late[-1], asked_at, now):
            late.pop()
        if late:
            self._wait()
            then = partial(self._wait_for, late, wanted, asked_at)
            self._loop.call_later(config.SHIM_LATE_LOOK_S, self._go_on, then)
        else:
            self._find(wanted, asked_at, now)

    def _watch(self, request: Watch | WatchKey, now: float) -> None:
        """First what is there already; then, a line for each, what happens."""
        if not self._door.settled:
            self._wait_until_settled(partial(self._watch, request))
        elif self._shim.is_much(request.wanted()):
            self._wait_for_turn(partial(self._watch_all, request.wanted()))
        else:
            self._watch_all(request.wanted(), now)

    def _watch_all(self, wanted: Wanted, _now: float) -> None:
        self._door.tell_news()  # to the others; this one has it in its list
        self._answer(Answer(services=[shim.describe(advert) for advert in self._shim.there(wanted)]))
        self._watch_no_more()
        self._watches = wanted
        self._door.watching.setdefault(wanted, set()).add(self)

    def _watch_no_more(self) -> None:
        if self._watches is not None:
            clients = self._door.watching[self._watches]
            clients.discard(self)
            if not clients:
                del self._door.watching[self._watches]
            self._watches = None

    def tell(self, news: bytes) -> None:
        self._write(news)

    def _wait(self) -> None:
        """Leave unread what follows."""
        self._waits = True
        self._transport.pause_reading()

    def _wait_until_settled(self, action: Callable[[float], None]) -> None:
        self._wait()
        self._door.when_settled(lambda: self._go_on(action))

    def _wait_for_turn(self, action: Callable[[float], None]) -> None:
        self._wait()
        self._door.in_turn(lambda: self._go_on(action))

    def _go_on(self, action: Callable[[float], None] | None = None) -> None:
        """Do what had to wait, if it was not just others' turn; then the rest, unless it has to wait again."""
        if self._ended:
            return
        now = self._loop.time()
        self._waits = False
        if action is not None:
            action(now)
        if not self._waits:
            self._serve_on(now)
        if not (self._waits or self._full):
            self._transport.resume_reading()

    # --- answers ---

    def _answer(self, answer: Answer) -> None:
        self._write(self._dialect.encode(answer))  # type: ignore[union-attr]  # there is one, by the first request

    def _refuse(self, refused: Refused) -> None:
        assert self._dialect is not None
        self._door.counters[refused.code] += 1
        self._write(self._dialect.encode_refusal(refused))

    def _write(self, data: bytes) -> None:
        assert self._dialect is not None
        self._transport.write(data)
        if self._dialect.one_request and not self._ended:
            self._ended = True
            self._transport.close()
        if self._transport.get_write_buffer_size():
            self._door.relieve(self)

    # --- the end ---

    def look_at_the_time(self, now: float) -> None:
        """End it when it has taken too long over what it does."""
        if self._transport.sent_late > self._sent_late:  # it reads, however slowly
            self._sent_late = self._transport.sent_late
            if self._full or self._ended:
                self._since = now
        spent_s = now - self._since
        if self._ended:
            if spent_s > (config.SHIM_STALL_S if self.unsent else config.SHIM_LINGER_S):
                self.abort()
        elif self._full:
            if spent_s > config.SHIM_STALL_S:
                self._door.counters["slow_reader"] += 1
                self.abort()
        elif self._waits:
            return
        elif self._dialect is None:
            if spent_s > self._silence_s:
                self.abort()
        elif self._has_to_show_token and now - self._began_at > config.SHIM_MESSAGE_S:
            why = f"no request with the token came within {config.SHIM_MESSAGE_S:g} s of the connection's beginning"
            self._end(Refused("timeout", why))
        elif self._dialect.rest:
            if spent_s > config.SHIM_MESSAGE_S:
                self._end(
                    Refused("timeout", f"the message was not complete {config.SHIM_MESSAGE_S:g} s after it began")
                )
        elif self._watches is None and spent_s > config.SHIM_IDLE_S:
            self._end(Refused("timeout", f"nothing was asked for {config.SHIM_IDLE_S:g} s: connect again"))

    @property
    def _silence_s(self) -> float:
        """How long it may say nothing at all."""
        if self._unwelcome:
            return config.SHIM_LINGER_S
        return config.SHIM_MESSAGE_S if self._has_to_show_token else config.SHIM_IDLE_S

    def abort(self) -> None:
        self._ended = True
        self._transport.abort()

    def _end(self, refused: Refused) -> None:
        """An error that nothing can follow. The client has a moment to read it: closing at once would take it away."""
        self._ended = True
        self._since = self._loop.time()
        self._watch_no_more()
        self._refuse(refused)
        self._transport.resume_reading()
        self._transport.write_eof()


SERVED_BY: dict[type[Request], Callable[[Client, Any, float], None]] = {
    Register: Client._register,
    RegisterKey: Client._register,
    Query: Client._query,
    QueryKey: Client._query,
    Watch: Client._watch,
    WatchKey: Client._watch,
}
"""What is more than to act on the registrations. By a table: isinstance is slow on msgspec's classes."""
