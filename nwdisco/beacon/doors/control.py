"""The control door: programs of this user, on a local socket, speaking core/control.py.

The connection is the lease: when it closes, for whatever reason, what it advertised is gone.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable
from itertools import count

from ... import addresses, config
from ...core import control, names
from ...core.advert import Advert
from ...core.control import Advertise, Discover, List, Request, Status, Stop, Unadvertise, Watch
from ...core.directory import Directory, Event
from ...core.refused import Refused
from ...errors import AddressError, AdvertError
from ..loop import Loop, Stream, Timer

MALFORMED = ("bad_request", "version")
"""Refusals of what is no request at all; the others are counted each under its own code."""
OLDEST_S = 1e8
"""No advert counts as older (three years): what the LAN's datagrams hold has a limit."""


class ControlDoor:
    def __init__(
        self,
        loop: Loop,
        directory: Directory,
        own_ip: Callable[[], str],
        when_settled: Callable[[Callable[[], None]], None],
        status: Callable[[], dict[str, object]],
        stop: Callable[[], None],
    ) -> None:
        """`own_ip` completes adverts without one; `when_settled` calls back when the LAN's adverts are known."""
        self.loop = loop
        self.directory = directory
        self.own_ip = own_ip
        self.when_settled = when_settled
        self.status = status
        self.stop = stop
        self.connections: set[Connection] = set()
        self.counters: Counter[str] = Counter()
        """What was refused, by reason."""
        self.waiting: dict[str, set[Connection]] = {}
        """Who waits for a name."""
        self.watching: dict[Connection, str] = {}
        """Who watches names that begin with what."""
        self.numbers = count(1)
        directory.on_event.append(self._on_event)

    def connection(self) -> Connection:
        """A program has connected: the loop's protocol factory."""
        return Connection(self)

    def close(self) -> None:
        for connection in tuple(self.connections):
            connection.end()

    def _on_event(self, event: Event) -> None:
        name = event.advert.name
        if self.waiting and event.kind != "left":
            for connection in tuple(self.waiting.get(name, ())):
                connection.found(event.advert)
        for connection, prefix in tuple(self.watching.items()):
            if name.startswith(prefix):
                connection.tell(event)


class Connection:
    """One program. Its requests are answered in their order; while one waits, later ones are left unread."""

    def __init__(self, door: ControlDoor) -> None:
        self._door = door
        self._directory = door.directory
        self._loop = door.loop
        self._holder = f"{door.directory.node}#{next(door.numbers):08d}"
        self._unread = b""
        self._greeted = False
        self._busy = False
        """A request waits for its answer, or this is a watch by now."""
        self._full = False
        """The program does not take its answers: no more is read before it does."""
        self._backlog_limit = config.MAX_WATCH_BACKLOG
        self._awaited: Discover | None = None
        self._timeout: Timer | None = None
        self._transport: Stream

    # --- what the loop calls ---

    def connection_made(self, transport: Stream) -> None:
        self._transport = transport
        if len(self._door.connections) >= config.MAX_CONTROL_CONNECTIONS:
            self._refuse(
                Refused("over_limit", f"the beacon serves {config.MAX_CONTROL_CONNECTIONS} connections at most")
            )
            self.end()
            return
        self._door.connections.add(self)

    def data_received(self, data: bytes) -> None:
        self._unread += data
        self._read_on()
        if len(self._unread) > config.MAX_CONTROL_LINE and not (self._full or self._transport.is_closing()):
            self._too_long()

    def pause_writing(self) -> None:
        self._full = True
        self._transport.pause_reading()  # should the program end meanwhile, writing to it fails, and that is noticed

    def resume_writing(self) -> None:
        self._full = False
        self._transport.resume_reading()
        self._loop.call_soon(self._read_on)

    def eof_received(self) -> None:
        """What it has asked for is still answered; then its lease ends."""

    def connection_lost(self) -> None:
        self._door.connections.discard(self)
        self._door.watching.pop(self, None)
        self._stop_waiting()
        self._busy = True  # nothing more of it is heeded
        self._directory.remove_all(self._holder)

    # --- requests ---

    def _read_on(self) -> None:
        """Serve what is there, up to a request that has to wait. Never called while a request is being served."""
        begin = 0
        while not (self._busy or self._full or self._transport.is_closing()):
            end = self._unread.find(b"\n", begin)
            if end < 0:
                break
            line = self._unread[begin:end]
            begin = end + 1
            if len(line) > config.MAX_CONTROL_LINE:
                self._too_long()
            elif not self._greeted:
                self._greet(line)
            else:
                try:
                    self._serve(control.decode(line))
                except Refused as refused:
                    self._refuse(refused)
        self._unread = self._unread[begin:]

    def _too_long(self) -> None:
        most = f"{config.MAX_CONTROL_LINE} bytes at most"
        self._refuse(Refused("bad_request", f"a request takes {most}, and so does all that follows one that waits"))
        self.end()

    def _greet(self, line: bytes) -> None:
        if line == control.GREETING:
            self._greeted = True
            return
        if line.startswith(b"nwdisco-control "):
            text = (
                f"the beacon that runs is of nwdisco {config.VERSION}, another version: end it (process {os.getpid()})"
            )
            self._refuse(Refused("version", text))
        else:
            self._refuse(
                Refused("bad_request", "this is nwdisco's control socket: begin with " + control.GREETING.decode())
            )
        self.end()

    def _serve(self, request: Request) -> None:
        if isinstance(request, Discover):
            self._discover(request)
        elif isinstance(request, Advertise):
            if request.fail_if_exists:
                self._later(lambda: self._advertise(request))
            else:
                self._advertise(request)
        elif isinstance(request, List):
            self._later(lambda: self._list(request))
        elif isinstance(request, Unadvertise):
            self._unadvertise(request)
        elif isinstance(request, Watch):
            self._later(lambda: self._watch(request))
        elif isinstance(request, Status):
            self._answer(self._door.status())
        elif isinstance(request, Stop):
            self._answer({"ok": True})
            self._door.stop()

    def _later(self, action: Callable[[], None]) -> None:
        """When the LAN's adverts are known, which they are but for the first moments of a beacon."""
        self._busy = True

        def act() -> None:
            if self not in self._door.connections:
                return
            self._resume()
            try:
                action()
            except Refused as refused:
                self._refuse(refused)

        self._door.when_settled(act)

    def _advertise(self, request: Advertise) -> None:
        now = self._loop.time()
        picked = request.address.startswith(":")
        try:
            names.check_name(request.name)
            names.check_address_text(request.address)
            names.check_properties(request.properties)
            names.check_ttl(request.ttl_s)
            if picked:
                addresses.check_port(request.address[1:], request.address)
        except (AdvertError, AddressError) as error:
            raise Refused("bad_advert", str(error)) from None
        there = self._directory.get(request.name)
        if request.fail_if_exists and there is not None and there.holder != self._holder:
            raise Refused("name_taken", f"{request.name!r} is advertised already", there.address)
        full = self._directory.count_held_by(self._holder) >= config.MAX_ADVERTS_PER_PROGRAM
        if full and self._directory.held(self._holder, request.name) is None:
            raise Refused("over_limit", f"a program has {config.MAX_ADVERTS_PER_PROGRAM} adverts at most")
        born = now - min(request.age_s, OLDEST_S)
        advert = Advert(
            name=request.name,
            address=self._door.own_ip() + request.address if picked else request.address,
            properties=request.properties,
            ttl_s=request.ttl_s,
            node=self._directory.node,
            holder=self._holder,
            born=born,
            rank=self._directory.next_rank(request.name, born),
            picked=picked,
        )
        if not self._directory.put(advert):
            raise Refused("over_limit", f"the directory is full: it holds {config.MAX_ADVERTS} adverts")
        self._answer({"address": advert.address})

    def _unadvertise(self, request: Unadvertise) -> None:
        if request.name is None:
            self._directory.remove_all(self._holder)
            self._answer({"was_there": True})
        else:
            self._answer({"was_there": self._directory.remove(self._holder, request.name)})

    def _discover(self, request: Discover) -> None:
        advert = self._directory.get(request.name)
        if advert is not None:
            self._answer({"address": advert.address})
            return
        self._busy = True
        self._awaited = request
        self._door.waiting.setdefault(request.name, set()).add(self)
        if request.wait_s == 0:
            self._time_is_up(request)
        elif request.wait_s is not None:
            self._timeout = self._loop.call_later(request.wait_s, self._time_is_up, request)

    def _time_is_up(self, request: Discover) -> None:
        """Nobody has it, unless the LAN's adverts are still on their way."""
        self._door.when_settled(lambda: self._not_found(request))

    def found(self, advert: Advert) -> None:
        """What this program waited for is there."""
        self._stop_waiting()
        self._answer({"address": advert.address})
        self._resume()

    def _not_found(self, request: Discover) -> None:
        if self._awaited is request:
            self._stop_waiting()
            self._answer({"address": None})
            self._resume()

    def _stop_waiting(self) -> None:
        if self._timeout is not None:
            self._timeout.cancel()
            self._timeout = None
        if self._awaited is not None:
            name = self._awaited.name
            waiting = self._door.waiting[name]
            waiting.discard(self)
            if not waiting:
                del self._door.waiting[name]
            self._awaited = None

    def _resume(self) -> None:
        """The request that waited is answered. The next one's turn comes when everybody has heard of what happened."""
        self._busy = False
        self._loop.call_soon(self._read_on)

    def _list(self, request: List) -> None:
        now = self._loop.time()
        group, separator = ("", "") if request.group is None else (request.group, request.separator)
        found = self._directory.group(group, separator) if group + separator else self._directory.all()
        excluded = set(request.exclude)
        self._answer({"adverts": [control.describe(advert, now) for advert in found if advert.name not in excluded]})

    def _watch(self, request: Watch) -> None:
        """From now on this connection only hears; first what is there already, then a mark, then what happens."""
        self._busy = True
        prefix = "" if request.group is None else request.group + request.separator
        now = self._loop.time()
        adverts = self._directory.all() if request.group is None else self._directory.beginning_with(prefix)
        there = control.encode({"there": [control.describe(advert, now) for advert in adverts]})
        self._backlog_limit += len(there)
        self._transport.write(there)
        self._door.watching[self] = prefix

    def tell(self, event: Event) -> None:
        if self._transport.get_write_buffer_size() > self._backlog_limit:
            self._door.counters["slow_watcher"] += 1
            self._transport.abort()
            self._door.watching.pop(self, None)
            return
        self._answer({"event": event.kind, "advert": control.describe(event.advert, self._loop.time())})

    # --- answers ---

    def _answer(self, answer: dict[str, object]) -> None:
        self._transport.write(control.encode(answer))

    def _refuse(self, refused: Refused) -> None:
        self._door.counters["malformed" if refused.code in MALFORMED else refused.code] += 1
        self._transport.write(control.encode_refusal(refused))

    def end(self) -> None:
        self._transport.close()
