"""The seal: with a secret, every datagram is authenticated, and one that was recorded is worth nothing.

A sealed datagram is `nw1#<tag> <node> <count> <kind><body>` (with a room `nw1@<room>#…`): the tag is a keyed BLAKE2s (RFC 7693)
of all else, the count goes up by one with each datagram of a node. Who sees a node for the first time, or after a silence,
believes it nothing before it has answered a challenge, which only somebody alive and with the secret can; from then on
no count is taken twice, and no challenge is answered twice. So nothing that was recorded before helps, whoever has restarted
since, and no clock is asked.

Who replays gets in nobody's way by it. A node is challenged for the newest of its datagrams alone, by its count: what lives
says something newer than all that was recorded. Who copies that faster than the network is challenged too, with the same
nonce, and can only hand it on. And a challenge names who is to answer it: nobody else does.

Promises, held by tests/test_sealed.py, tests/test_sealed_replays.py and tests/test_security_document.py: without the secret
nothing gets in and nothing is answered; an answer is never longer than what it answers; who replays keeps no node from
proving itself, the first time or again.
"""

from __future__ import annotations

import os
from collections import Counter, OrderedDict, deque
from hashlib import blake2s
from hmac import compare_digest
from math import inf
from typing import Final

from .. import config
from .budget import Budget
from .contacts import Address
from .datagrams import MAGIC
from .wire import OTHER_SECRET, SEAL_MARK, Stranger, base64url, prefix_of, why_not_ours

KINDS = DATA, CHALLENGE, RESPONSE = b"d", b"c", b"r"
TAG_LENGTH: Final = 16
COUNT_LENGTH: Final = 12
NONCE_LENGTH: Final = 8
NO_NONCE: Final = b" " * NONCE_LENGTH
WINDOW: Final = 64
"""Counts so far behind the highest are still taken, once: datagrams overtake each other."""
MAX_ASKED: Final = 4
"""IPs that are challenged in the name of one node at a time: those of a machine on several networks, or of who copies it. More:
who forges sources must copy a datagram more often to be challenged in its node's place, but brings about more challenges."""


class _Session:
    """A node that has answered a challenge."""

    __slots__ = ("heard_at", "highest", "proved_at", "seen")

    def __init__(self, count: int, now: float) -> None:
        self.highest = count
        self.seen = (1 << WINDOW) - 1
        """Which of the counts up to the highest came already (or are too old): the lowest bit is the highest count."""
        self.proved_at = now
        self.heard_at = now

    def take(self, count: int) -> bool:
        """Whether this count is new; from now on it is not."""
        if count > self.highest:
            self.seen = (self.seen << min(count - self.highest, WINDOW) | 1) & ((1 << WINDOW) - 1)
            self.highest = count
            return True
        bit = 1 << (self.highest - count) if self.highest - count < WINDOW else 0
        if not bit or self.seen & bit:
            return False
        self.seen |= bit
        return True

    def is_silent(self, now: float) -> bool:
        return now - self.heard_at > config.SESSION_SILENT_S

    def is_over(self, now: float) -> bool:
        return self.is_silent(now) or now - self.proved_at > config.SESSION_S + config.SESSION_SILENT_S

    def is_due(self, now: float) -> bool:
        """Whether its node is to prove itself again."""
        return self.is_silent(now) or now - self.proved_at > config.SESSION_S


class _Challenge:
    """What a node is to answer with, and who was challenged in its name."""

    __slots__ = ("_asked", "_asked_at", "_highest", "_made_at", "_nonce")

    def __init__(self) -> None:
        self._nonce = NO_NONCE
        self._made_at = -inf
        self._highest = -1
        """Of the counts heard."""
        self._asked: set[str] = set()
        """The IPs challenged since ..."""
        self._asked_at = -inf

    def nonce_for(self, count: int, ip: str, now: float) -> bytes:
        """For who sent this count from there; NO_NONCE where it is older than the newest, or that IP was challenged just now.

        One nonce for all that are asked: whatever others send, the one of who lives stands.
        """
        if count < self._highest:
            return NO_NONCE
        if count > self._highest and now - self._asked_at >= config.CHALLENGE_AGAIN_S:
            self._asked_at = now
            self._asked.clear()
            if now - self._made_at > config.SESSION_SILENT_S / 2:  # the other half is for the response
                self._nonce = base64url(os.urandom(NONCE_LENGTH * 3 // 4))
                self._made_at = now
        self._highest = count
        if ip in self._asked or len(self._asked) >= MAX_ASKED:
            return NO_NONCE
        self._asked.add(ip)
        return self._nonce

    def is_answered_by(self, nonce: bytes, now: float) -> bool:
        """Not when it comes late: it was held back, perhaps."""
        return now - self._made_at <= config.SESSION_SILENT_S and compare_digest(nonce, self._nonce)


class SealedWire:
    def __init__(self, key: bytes, room: str, node: str, counters: Counter[str], now: float) -> None:
        """`key`: secret.lan_key's."""
        self.outbox: deque[tuple[bytes, Address]] = deque()
        self._key = key
        self._node = node.encode()
        self._prefix = prefix_of(room)
        self._begins = self._prefix + SEAL_MARK
        self._counters = counters
        self._count = 0
        self._sessions: dict[bytes, _Session] = {}
        self._challenges: OrderedDict[bytes, _Challenge] = OrderedDict()
        """Of the nodes that are to prove themselves."""
        self._answered: OrderedDict[bytes, int] = OrderedDict()
        """The count of each node's last challenge that was answered: what is not higher is a replay."""
        self._new_left = Budget(config.CHALLENGES_PER_S, now)
        """Challenges to nodes never believed ..."""
        self._back_left = Budget(config.CHALLENGES_PER_S, now)
        """... and to those that were silent: they do not wait behind what is replayed of the others."""
        self._answers_left = Budget(config.CHALLENGES_PER_S, now)

    def seal(self, data: bytes) -> bytes:
        return self._sealed(DATA, data[len(MAGIC) :])

    def open(self, data: bytes, source: Address, now: float) -> bytes | Stranger | None:
        if not data.startswith(self._begins):
            return Stranger(why_not_ours(data, self._prefix, has_secret=True), source[0])
        start = len(self._begins)
        tag, rest = data[start : start + TAG_LENGTH], data[start + TAG_LENGTH :]
        if not compare_digest(tag, self._tag(rest)):
            return Stranger(OTHER_SECRET, source[0])
        node, digits, kind, body = rest[1:9], rest[10:22], rest[23:24], rest[24:]
        if kind not in KINDS or not digits.isdigit() or rest[0:1] + rest[9:10] + rest[22:23] != b"   ":
            self._counters["malformed"] += 1  # by somebody with the secret, who writes it in another way than we
            return None
        count = int(digits)
        if node == self._node:
            return None
        if kind != DATA and len(body) != 2 * NONCE_LENGTH:
            self._counters["malformed"] += 1
        elif kind == CHALLENGE and body[NONCE_LENGTH:] == self._node:
            self._respond(node, count, body[:NONCE_LENGTH], source, now)
        elif kind == RESPONSE and self._proves(node, count, body[:NONCE_LENGTH], now):
            if body[NONCE_LENGTH:] != NO_NONCE:
                self._respond(node, count, body[NONCE_LENGTH:], source, now)
        elif kind != DATA:
            self._counters["unproved"] += 1
        elif self._admits(node, count, source, now):
            return MAGIC + body
        return None

    # --- who is believed ---

    def _admits(self, node: bytes, count: int, source: Address, now: float) -> bool:
        session = self._sessions.get(node)
        is_new = session is None or session.take(count)
        if session is None or (session.is_due(now) and count == session.highest):
            self._challenge(node, count, source, now)
        if session is None or session.is_over(now):
            self._counters["unproved"] += 1
            return False
        if not is_new:
            self._counters["copies"] += 1
            return False
        session.heard_at = now
        return True

    def _challenge(self, node: bytes, count: int, source: Address, now: float) -> None:
        session = self._sessions.get(node)
        budget: Budget | None = self._new_left
        if session is not None:
            budget = self._back_left if session.is_silent(now) else None
        nonce = self._nonce_for(node, count, source, now, budget)
        if nonce != NO_NONCE:
            self.outbox.append((self._sealed(CHALLENGE, nonce + node), source))

    def _nonce_for(self, node: bytes, count: int, source: Address, now: float, budget: Budget | None) -> bytes:
        """A nonce for a node to prove itself with, if it is challenged there by now."""
        challenge = self._challenges.get(node) or _Challenge()
        nonce = challenge.nonce_for(count, source[0], now)
        if nonce == NO_NONCE or not (budget is None or budget.take(now)):
            return NO_NONCE
        self._challenges[node] = challenge
        self._challenges.move_to_end(node)
        if len(self._challenges) > config.MAX_NODES:
            self._challenges.popitem(last=False)
        return nonce

    def _respond(self, node: bytes, count: int, nonce: bytes, source: Address, now: float) -> None:
        """To whoever has the secret, once; if it is to prove itself too, with a challenge in the same datagram."""
        if count <= self._answered.get(node, 0):
            self._counters["copies"] += 1
            return
        if not self._answers_left.take(now):
            self._counters["unproved"] += 1
            return
        self._answered[node] = count
        self._answered.move_to_end(node)
        if len(self._answered) > config.MAX_NODES:
            self._answered.popitem(last=False)
        session = self._sessions.get(node)
        own_nonce = NO_NONCE
        if session is None or session.is_due(now):
            own_nonce = self._nonce_for(node, count, source, now, budget=None)
        self.outbox.append((self._sealed(RESPONSE, nonce + own_nonce), source))

    def _proves(self, node: bytes, count: int, nonce: bytes, now: float) -> bool:
        """Whether a node has answered its challenge; it is believed from now on."""
        challenge = self._challenges.get(node)
        if challenge is None or not challenge.is_answered_by(nonce, now):
            return False
        del self._challenges[node]
        session = self._sessions.get(node)
        if session is not None and not session.is_silent(now):
            session.proved_at = session.heard_at = now
        elif session is None and len(self._sessions) >= config.MAX_NODES and not self._forget_silent(now):
            self._counters["over_limit"] += 1
        else:
            self._sessions[node] = _Session(count, now)
        return True

    def _forget_silent(self, now: float) -> bool:
        silent = [node for node, session in self._sessions.items() if session.is_silent(now)]
        for node in silent:
            del self._sessions[node]
        return bool(silent)

    # --- the seal ---

    def _sealed(self, kind: bytes, body: bytes) -> bytes:
        self._count += 1
        rest = b" %s %0*d %s%s" % (self._node, COUNT_LENGTH, self._count, kind, body)
        return self._begins + self._tag(rest) + rest

    def _tag(self, rest: bytes) -> bytes:
        digest = blake2s(self._begins + rest, key=self._key, digest_size=TAG_LENGTH * 3 // 4).digest()
        return base64url(digest)
