"""Telling: what this node says to the LAN of itself, and when.

A change goes out at once and is repeated a few times; a beat says every now and then which version is the latest; an
answer tells one asker what it missed. What is heard from others is lan.py's business.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Final

from .. import config
from . import datagrams
from .advert import Advert
from .budget import Budget
from .contacts import Address
from .datagrams import Beat, Bye
from .fair_queue import Answer, FairQueue
from .journal import Journal
from .timers import Timers

EVERYONE: Final = "everyone"
"""By multicast and by broadcast."""
MULTICAST: Final = "multicast"
BROADCAST: Final = "broadcast"

HEADER_ROOM: Final = 140
"""Bytes of a change datagram that its entries cannot have."""
MAX_ANSWERS_EACH: Final = 16
"""Stretches of our changes that one address may wait for at a time."""
MAX_ANSWERS_PER_MACHINE: Final = 128
"""And all addresses of one IP: two for each of MAX_NODES_PER_MACHINE beacons. What waits is sent even if who asked has gone."""
MAX_ANSWERS: Final = 4096
"""And everybody together. Past this or the one before, who waits for most has the newest of it dropped."""


class Teller:
    def __init__(
        self,
        node: str,
        timers: Timers,
        random: Random,
        to_all: Callable[[bytes, str], None],
        to_one: Callable[[bytes, Address], None],
        now: float,
    ) -> None:
        """`to_all(data, way)` sends by one of the ways below, `to_one(data, address)` to an address."""
        self.node = node
        self.journal = Journal()
        self._timers = timers
        self._random = random
        self._to_all = to_all
        self._to_one = to_one
        self._seq = config.FIRST_SEQUENCE
        self._place = 0
        self._beats = 0
        self._beat_at = now
        self._broadcast_until = now
        self._announced = 0
        """The version that everybody was told of."""
        self._broadcasted = 0
        """The version that everybody was told of by broadcast too."""
        self._announce_planned = False
        self._broadcast_planned = False
        self._announces_left = Budget(config.CHANGES_PER_S, now)
        self._repeating = False
        self._repeat_step = 0
        self._answers = FairQueue(MAX_ANSWERS_EACH, MAX_ANSWERS_PER_MACHINE, MAX_ANSWERS)
        self._answer_planned = False
        self._parts_left = 0
        """Parts of answers that may go out ..."""
        self._parts_until = now
        """... until then; from then on, as many as ever."""

    # --- changes ---

    def write(self, name: str, advert: Advert | None, now: float) -> None:
        """Our programs say something new of a name (None: nothing any more)."""
        self.journal.write(name, advert, now)
        if advert is not None and advert.ttl_s < config.TTL_S:
            self._plan_beat(min(self._beat_at, now + advert.ttl_s * config.BEAT_SHARE_OF_TTL))
        self._announce_soon(now)

    def moved(self, now: float) -> None:
        """Our own addresses have changed: the next change shows everybody where we are now."""
        self._place += 1
        self.journal.turn_page()
        self._announce_soon(now)

    def _announce_soon(self, now: float) -> None:
        if self._announce_planned:
            return
        if self._announces_left.take(now):
            self._announce(now)
        else:
            self._announce_planned = True
            self._timers.at(now + config.CHANGE_GATHER_S, self._announce)

    def _announce(self, now: float) -> None:
        """Tell everybody what changed since we last did."""
        self._announce_planned = False
        for data, reached in self._changes(self._announced, self.journal.version, now, config.ANSWER_PARTS):
            self._to_all(data, MULTICAST)
            self._announced = reached
        if not self._broadcast_planned:
            self._broadcast_planned = True
            self._timers.at(now + config.BROADCAST_GATHER_S, self._announce_by_broadcast)
        if self._announced < self.journal.version:
            self._announce_planned = True
            self._timers.at(now + config.ANSWER_GAP_S, self._announce)
        self._repeat_step = 0
        if not self._repeating:
            self._repeating = True
            self._timers.at(now + config.REPEATS_S[0], self._repeat)

    def _announce_by_broadcast(self, now: float) -> None:
        """The same a moment later for those whom multicast does not reach, what was told since the last time together."""
        self._broadcast_planned = False
        for data, reached in self._changes(self._broadcasted, self._announced, now, config.ANSWER_PARTS):
            self._to_all(data, BROADCAST)
            self._broadcasted = reached
        self._broadcasted = self._announced  # what was too much by far, they ask for

    def _repeat(self, now: float) -> None:
        """Tell again what changed lately: whoever lost the first datagram has the change all the same."""
        since = self.journal.version_before(now - sum(config.REPEATS_S) - 0.1, most=40)
        for data, _ in self._changes(since, self._announced, now, 4):
            self._to_all(data, EVERYONE)
        self._repeat_step += 1
        self._repeating = self._repeat_step < len(config.REPEATS_S)
        if self._repeating:
            self._timers.at(now + config.REPEATS_S[self._repeat_step], self._repeat)

    # --- beats ---

    def start_beating(self, now: float) -> None:
        self._plan_beat(now)

    def broadcast_for_a_while(self, now: float) -> None:
        """Somebody did not hear our beats: send each by broadcast too."""
        self._broadcast_until = now + config.BROADCAST_AFTER_PROBE_S

    def _plan_beat(self, at: float) -> None:
        self._beat_at = at
        self._timers.at(at, self._beat)

    def _beat(self, now: float) -> None:
        if now < self._beat_at:
            return  # planned anew since
        self._beats += 1
        both = self._beats % config.BROADCAST_EVERY == 1 or now < self._broadcast_until
        self._to_all(self._encode_beat(), EVERYONE if both else MULTICAST)
        gap_s = min(config.BEAT_S, self.journal.shortest_ttl_s() * config.BEAT_SHARE_OF_TTL)
        self._plan_beat(now + gap_s * self._random.uniform(0.96, 1.04))

    def _encode_beat(self) -> bytes:
        return datagrams.encode(Beat(self.node, self._next_seq(), self._announced, self.journal.count))

    def bye(self) -> None:
        self._to_all(datagrams.encode(Bye(self.node, self._next_seq())), EVERYONE)

    # --- answers ---

    def answer(self, address: Address, since: int, until: int, now: float) -> None:
        """Tell one address where we are and what changed after `since`, up to `until` (0: to the end)."""
        self._to_one(self._encode_beat(), address)
        until = min(until or self._announced, self._announced)
        waiting = self._answers.of(address)
        if since >= until or any(answer.covers(since, until, now) for answer in waiting):
            return  # nothing is new, or it is on its way
        for answer in [answer for answer in waiting if since <= answer.since and answer.until <= until]:
            self._answers.remove(answer)
        self._answers.put(Answer(address, since, until))
        if not self._answer_planned:
            self._send_answers(now)

    def _send_answers(self, now: float) -> None:
        """The next parts of what waits, so few at a time, over all answers together, that no receiver is overrun."""
        if now >= self._parts_until:
            self._parts_left = config.ANSWER_PARTS
            self._parts_until = now + config.ANSWER_GAP_S
        while self._answers and self._parts_left:
            answer = self._answers.next()
            most = 1 if len(self._answers) > 1 else self._parts_left  # made together, parts cost less
            parts = self._changes(answer.since, answer.until, now, most)
            for data, _ in parts:
                self._to_one(data, answer.address)
            self._parts_left -= len(parts)
            answer.went(parts[-1][1], now)
            if answer.since == answer.until:
                self._answers.remove(answer)
        self._answer_planned = bool(self._answers)
        if self._answer_planned:
            self._timers.at(self._parts_until, self._send_answers)

    # --- change datagrams ---

    def _changes(self, since: int, until: int, now: float, most: int) -> list[tuple[bytes, int]]:
        """What changed after `since`, as datagrams with the version that each reaches; `most` of them at most."""
        made: list[tuple[bytes, int]] = []
        entries: list[bytes] = []
        size, begun_at, reached = HEADER_ROOM, since, since
        for line in self.journal.since(since, until):
            entry = datagrams.encode_entry(line.name, line.version, line.advert, now)
            if entries and (size + len(entry) + 1 > config.MAX_DATAGRAM_BYTES or len(entries) == datagrams.MAX_ENTRIES):
                made.append((self._encode_change(begun_at, reached, entries), reached))
                if len(made) == most:
                    return made
                entries, size, begun_at = [], HEADER_ROOM, reached
            entries.append(entry)
            size += len(entry) + 1
            reached = line.version
        if since < until:
            made.append((self._encode_change(begun_at, until, entries), until))
        return made

    def _encode_change(self, since: int, until: int, entries: list[bytes]) -> bytes:
        horizon = self.journal.horizon
        return datagrams.encode_change(self.node, self._next_seq(), self._place, horizon, since, until, entries)

    def _next_seq(self) -> int:
        self._seq += 1
        return self._seq
