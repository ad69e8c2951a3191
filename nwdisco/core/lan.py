"""The LAN protocol, sans I/O: datagrams and the time in; datagrams, directory changes and a wake-up time out.

Each node tells everybody of its changes at once, and with each beat at which version its adverts are (telling.py). Who
sees a version that it does not have asks for what is missing (peers.py). Who falls silent is probed, then dropped;
who claims to have moved is asked for where it was (moves.py).
docs/protocol.md is the specification.

Promises, held by tests/test_simulator.py: without loss, a change is everywhere after one datagram; with 30 % loss, in
3 s; silent nodes are gone within 5.5 s, live ones never; halves of a split network agree 1.5 s after they are joined.

The driver (beacon/links/lan.py) owns sockets and clock: it calls `receive` and `wake`, sends what is in `outbox`, and
wakes it again at `due`.
"""

from __future__ import annotations

from collections import Counter, deque
from math import ceil, floor
from random import Random
from typing import Final, NamedTuple

from .. import config
from . import datagrams
from .advert import Advert
from .contacts import Address, Contact, Contacts, Probes
from .datagrams import Ask, Beat, Bye, Change, Foreign, Key, Malformed, Who
from .directory import Directory
from .moves import Moves
from .peers import Peer, Peers
from .telling import EVERYONE, Teller
from .timers import Timers

FROM_NODE: Final = (Beat, Change, Bye)
"""The kinds that name the node that they come from."""
PROBE: Final = "probe"
"""Begins the padding of a question to a node that fell silent: it may be its multicast that gets lost."""

REORDER_S: Final = 0.03
"""Nothing is asked for while changes of the same node keep coming, no further apart than this: what is missing may be
just behind, and an answer's parts come each ANSWER_GAP_S."""
ASKED_S: Final = 1.0
"""A newcomer that asked us itself so lately has heard us: its repeated question to everyone needs no answer."""
WATCH_TICK_S: Final = 1 / 16
"""Peers that are not suspect yet are looked at in such steps. Longer: fewer wake-ups, fewer probes before the end.
A binary fraction, so that rounding never puts a tick before its own time."""
WATCH_AT_ONCE: Final = 64
"""Peers looked at before programs get their turn again: whoever invents nodes makes thousands due together."""
BIG_ROOM_NODES: Final = 64
"""With so many nodes known, one without adverts leaves a newcomer's question to its next beat: in a room where hundreds
are switched on at once, answers that hold nothing would be most of the traffic."""
LATELY: Final = 64
"""Datagrams to everyone that are remembered, to know their copies by."""
MAX_ASKS: Final = 16
"""Gaps asked for at a time."""


class Send(NamedTuple):
    data: bytes
    to: str | Address
    """EVERYONE, MULTICAST, BROADCAST or an address."""


class Lan:
    def __init__(self, directory: Directory, random: Random, now: float) -> None:
        """Takes part under the directory's node id. `random` gives jitter and the secret of the proofs."""
        self.outbox: deque[Send] = deque()
        self.counters: Counter[str] = Counter()
        """What was received, and what was dropped or held back, by reason."""
        self.node = directory.node
        self.peers = Peers(directory, self.counters)
        self.contacts = Contacts(random.randbytes(32), self.peers.is_at)
        self._directory = directory
        self._random = random
        self._timers = Timers()
        self._teller = Teller(self.node, self._timers, random, self._send_all, self._send, now)
        self._started_at = now
        self._probes = Probes(now)
        self._moves = Moves(self.peers, self._timers, self._send_who, self._count_refuted, now)
        self._turn_at = now
        """When what takes long has its next turn, if that is still to come."""
        self._watched: dict[int, list[Peer]] = {}
        """Peers to be looked at, by the tick."""
        self._lately: dict[bytes, tuple[Address, float]] = {}
        """The last datagrams to everyone, where they came from and when: by broadcast, their copies follow."""

    @property
    def due(self) -> float | None:
        """When `wake` wants to be called."""
        return self._timers.due

    def settled(self, now: float) -> bool:
        """Whether what is on the LAN is known by now, as far as one can know."""
        age_s = now - self._started_at
        return age_s >= config.SETTLE_LIMIT_S or (age_s >= config.SETTLE_S and not self.peers.any_behind())

    # --- what the driver calls ---

    def start(self, now: float) -> None:
        """Say that we are here, and ask who else is."""
        self._teller.start_beating(now)
        for delay_s in config.ARRIVAL_WHO_S:
            self._timers.at(now + delay_s, self._ask_everyone)

    def wake(self, now: float) -> None:
        self._timers.run(now)
        self._work(now)

    def stop(self) -> None:
        """Say goodbye; nothing more is to be sent after it."""
        self._teller.bye()

    def own_change(self, name: str, advert: Advert | None, now: float) -> None:
        """This node's programs say something new of a name: tell everybody, at once unless there is very much."""
        self._teller.write(name, advert, now)

    def moved(self, now: float) -> None:
        """This machine's own addresses have changed: others reach it where the next change comes from."""
        self._teller.moved(now)
        self._ask_everyone(now)

    def receive(self, data: bytes, source: Address, now: float, direct: bool = False) -> None:
        """A datagram arrived; `direct`: sent to us alone. Whatever it holds, this does not raise."""
        counters = self.counters
        if not direct:
            heard = self._lately.get(data)
            if heard is not None and heard[0] == source and now - heard[1] < config.SAME_QUESTION_S:
                counters["copies"] += 1
                return
            self._lately[data] = source, now
            if len(self._lately) > LATELY:
                del self._lately[next(iter(self._lately))]
        try:
            message = datagrams.decode(data)
        except Foreign:
            counters["foreign"] += 1
            return
        except Malformed:
            counters["malformed"] += 1
            return
        if isinstance(message, Who):
            if message.nonce == self.contacts.nonce_for_all:
                return  # what we send to everyone, we hear as well
        elif isinstance(message, FROM_NODE) and message.node == self.node:
            return
        counters["received"] += 1
        contact = self.contacts.heard(source, len(data))
        if isinstance(message, Beat):
            self._take_beat(message, source, now)
        elif isinstance(message, Change):
            self._take_change(message, data, source, now)
        elif isinstance(message, Who):
            self._take_who(message, source, contact, now, direct)
        elif isinstance(message, Key):
            self._take_key(message, source, contact, now)
        elif isinstance(message, Ask):
            self._take_ask(message, source, contact, now)
        else:
            self._take_bye(message, source, now)
        self._work(now)

    def _work(self, now: float) -> None:
        """A turn of what takes long; the next one is soon, after programs have had theirs."""
        if self.peers.unfinished:
            self.peers.work()
            if self.peers.unfinished and self._turn_at <= now:
                self._turn_at = now + config.LEAST_WAIT_S
                self._timers.at(self._turn_at, _wake)

    # --- what arrives ---

    def _take_beat(self, beat: Beat, source: Address, now: float) -> None:
        peer = self._hear(beat.node, beat.seq, source, now)
        if peer is None or beat.version == peer.version == peer.latest:
            return
        if beat.seq == peer.seq:
            self.peers.told_latest(peer, beat.version, beat.count)
        if peer.behind:
            self._chase(peer, now)

    def _take_change(self, change: Change, data: bytes, source: Address, now: float) -> None:
        known = self.peers.get(change.node)
        if known is not None and source != known.address and change.place > known.place:
            self._moves.claim(known, source, change.place, now)
        peer = self._hear(change.node, change.seq, source, now)
        if peer is None:
            return
        peer.place = max(peer.place, change.place)
        self.peers.follow(peer, change, data, now)
        if peer.behind:
            self._chase(peer, now)
        suspect_at = peer.heard_at + config.SUSPECT_SHARE * self._directory.lives_of(peer.node)[0]
        if now < suspect_at < peer.watch_at - WATCH_TICK_S:
            self._watch_later(peer, suspect_at, now)  # it has an advert with a shorter life now

    def _take_who(self, who: Who, source: Address, contact: Contact, now: float, direct: bool) -> None:
        if not direct:
            if len(self.peers) >= BIG_ROOM_NODES and not self._teller.journal.count:
                return
            if now - contact.who_at < config.SAME_QUESTION_S or now - contact.asked_at < ASKED_S:
                return
            contact.who_at = now
        padding = " " * (len(who.padding) - config.WHO_PADDING_BYTES)
        key = datagrams.encode(Key(who.nonce, self.contacts.proof_for(source), padding))
        if direct:
            if who.padding.startswith(PROBE):
                self._teller.broadcast_for_a_while(now)
            self._send(key, source)
        elif len(self.peers) < config.ANSWER_AT_ONCE_NODES:
            self._send(key, source)
        else:
            spread_s = min(len(self.peers) * config.ANSWER_SPREAD_S, config.ANSWER_SPREAD_LIMIT_S)
            self._timers.at(now + self._random.uniform(0, spread_s), lambda _now: self._send(key, source))

    def _take_key(self, key: Key, source: Address, contact: Contact, now: float) -> None:
        peer = self.peers.at(source)
        asked_it_alone = key.nonce == self.contacts.proof_for(source)
        if not (asked_it_alone or key.nonce == self.contacts.nonce_for_all):
            self.counters["unproved"] += 1
            return
        if asked_it_alone or not contact.proved:  # everybody has heard our question to all, a forger too
            contact.cookie = key.cookie
        if asked_it_alone:
            contact.proved = True
            if peer is not None:
                peer.address_at = now
                peer.horizon_seq = (
                    -1
                )  # as below, but it need not be silent: what it tells of itself must not be left out
                if now - peer.heard_at > config.SUSPECT_SHARE * config.TTL_S:
                    peer.seq = -1  # it lives: whatever sequence number somebody made us believe is void
                peer.heard_at = now
                self._directory.renew(peer.node, now)
        if peer is None:
            if now - contact.greeted_at > sum(config.RETRY_UNKNOWN_S):
                contact.greeted_at = now
                self._ask_unknown(source, key.cookie, 0, now)
        elif peer.behind and now - peer.progress_at >= REORDER_S:
            self._ask(peer, key.cookie)

    def _take_ask(self, ask: Ask, source: Address, contact: Contact, now: float) -> None:
        if ask.cookie != self.contacts.proof_for(source):
            self.counters["unproved"] += 1
            return
        contact.proved = True
        contact.asked_at = now
        self._teller.answer(source, ask.since, ask.until, now)

    def _take_bye(self, bye: Bye, source: Address, now: float) -> None:
        peer = self.peers.get(bye.node)
        if peer is not None and bye.seq > peer.seq and source == peer.address:
            peer.seq = bye.seq
            self.peers.leave(peer, now)

    # --- who is there ---

    def _hear(self, node: str, seq: int, source: Address, now: float) -> Peer | None:
        """The node behind a datagram, with its address and its signs of life brought up to date; None: not heeded."""
        peer = self.peers.get(node)
        if peer is None:
            if self.peers.is_late(node, seq, now):
                self.counters["late"] += 1
                return None
            peer = self.peers.meet(node, source, now)
            if peer is None:  # too many, of all or at this address
                self.counters["over_limit"] += 1
                return None
            self._watch_later(peer, now + config.SUSPECT_SHARE * config.TTL_S, now)
        if source == peer.address:
            peer.address_at = now
        elif now - peer.address_at > config.MOVE_AFTER_S:
            self.peers.move(peer, source, now)
        else:  # perhaps its other interface, perhaps somebody else: it is heeded where it is known
            peer.elsewhere = source
            self.counters["elsewhere"] += 1
            return None
        if seq > peer.seq:
            peer.seq = seq
            peer.heard_at = now
            self._directory.renew(node, now)
        return peer

    def _count_refuted(self) -> None:
        self.counters["not_moved"] += 1

    def _watch_later(self, peer: Peer, at: float, now: float) -> None:
        """Nothing is urgent yet: peers that are due at about the same time are looked at together."""
        tick = max(ceil(at / WATCH_TICK_S), floor(now / WATCH_TICK_S) + 1)
        peer.watch_at = tick * WATCH_TICK_S
        together = self._watched.setdefault(tick, [])
        if not together:
            self._timers.at(peer.watch_at, lambda later: self._watch_all(tick, later))
        together.append(peer)

    def _watch_in(self, seconds: float, peer: Peer, now: float) -> None:
        peer.watch_at = now + max(seconds, config.LEAST_WAIT_S)
        self._timers.at(peer.watch_at, lambda later: self._watch(peer, later))

    def _watch_all(self, tick: int, now: float) -> None:
        together = self._watched.pop(tick)
        for peer in together[:WATCH_AT_ONCE]:
            self._watch(peer, now)
        if len(together) > WATCH_AT_ONCE:
            self._watched[tick] = together[WATCH_AT_ONCE:]
            self._timers.at(now + config.LEAST_WAIT_S, lambda later: self._watch_all(tick, later))

    def _watch(self, peer: Peer, now: float) -> None:
        """Once in a while for each peer: has it fallen silent? Then probe it, then let its adverts expire."""
        if now < peer.watch_at or self.peers.get(peer.node) is not peer:
            return  # planned anew since, or gone
        if now - peer.heard_at >= self._directory.lives_of(peer.node)[0]:
            self.peers.lose(peer)
        if self._directory.expire(peer.node, now):
            self.peers.start_again(peer)  # should it be heard again, what expired is to be fetched
        silence_s = now - peer.heard_at
        shortest_s, longest_s = self._directory.lives_of(peer.node)
        if silence_s >= longest_s:
            self.peers.forget(peer, now)
            return
        life_s = shortest_s if silence_s < shortest_s else longest_s
        if silence_s < config.SUSPECT_SHARE * life_s:
            self._watch_later(peer, peer.heard_at + config.SUSPECT_SHARE * life_s, now)
        else:
            left_s = peer.heard_at + life_s - now
            self._watch_in(min(left_s, self._probe(peer, left_s, now)), peer, now)

    def _probe(self, peer: Peer, left_s: float, now: float) -> float:
        """Ask a silent peer whether it lives; seconds until the next probe."""
        if wait_s := self._probes.wait_s(self.contacts.is_proved(peer.address), now):
            self.counters["probes_put_off"] += 1
            return wait_s
        self._send_who(peer.address, PROBE)
        if peer.elsewhere is not None and self._probes.take(self.contacts.is_proved(peer.elsewhere), now):
            self._send_who(peer.elsewhere, PROBE)
        return max(config.PROBE_GAP_MIN_S, config.PROBE_GAP_SHARE * left_s)

    # --- fetching what is missing ---

    def _chase(self, peer: Peer, now: float) -> None:
        """Get what a peer has and we have not, unless that is under way."""
        if not peer.chasing:
            peer.chasing, peer.tries = True, 0
            self._pursue(peer, now)

    def _pursue(self, peer: Peer, now: float) -> None:
        if self.peers.get(peer.node) is not peer or not peer.behind:
            peer.chasing = False
            return
        quiet_at = peer.progress_at + REORDER_S
        if quiet_at > now:
            self._timers.at(quiet_at, lambda later: self._pursue(peer, later))
            return
        if peer.progress_at > peer.asked_at:
            peer.tries = 0
        peer.asked_at = now
        contact = self.contacts.get(peer.address)
        if contact is None or not contact.cookie or peer.tries == len(config.RETRY_S):
            self._send_who(peer.address)  # its key will make us ask
        else:
            self._ask(peer, contact.cookie)
        peer.chasing = peer.tries < len(config.RETRY_S)
        if peer.chasing:
            peer.tries += 1
            self._timers.at(now + config.RETRY_S[peer.tries - 1], lambda later: self._pursue(peer, later))

    def _ask_unknown(self, address: Address, cookie: str, tries: int, now: float) -> None:
        """Somebody answered our question to everyone: ask until it is heard who that is, and what it has."""
        if self.peers.at(address) is None and tries < len(config.RETRY_UNKNOWN_S):
            self._send(datagrams.encode(Ask(cookie, 0, 0)), address)
            again_at = now + config.RETRY_UNKNOWN_S[tries]
            self._timers.at(again_at, lambda later: self._ask_unknown(address, cookie, tries + 1, later))

    def _ask(self, peer: Peer, cookie: str) -> None:
        for since, until in self.peers.gaps(peer, MAX_ASKS):
            self._send(datagrams.encode(Ask(cookie, since, until)), peer.address)

    # --- sending ---

    def _ask_everyone(self, now: float) -> None:
        who = Who(self.contacts.nonce_for_all, " " * config.ARRIVAL_PADDING_BYTES)
        self._send_all(datagrams.encode(who), EVERYONE)

    def _send_who(self, address: Address, why: str = "") -> None:
        who = Who(self.contacts.proof_for(address), why.ljust(config.WHO_PADDING_BYTES))
        self._send(datagrams.encode(who), address)

    def _send_all(self, data: bytes, way: str) -> None:
        self.outbox.append(Send(data, way))

    def _send(self, data: bytes, address: Address) -> None:
        """To one address, if it has proved itself or sent us as much."""
        if self.contacts.may_send(address, len(data)):
            self.outbox.append(Send(data, address))
        else:
            self.counters["withheld"] += 1


def _wake(_now: float) -> None:
    """There is work, which each wake-up ends with."""
