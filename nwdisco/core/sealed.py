"""The seal: with a secret, every datagram is authenticated, and one that was recorded is worth nothing.

A sealed datagram is `nw1#<tag> <node> <count> <kind><body>` (with a room `nw1@<room>#…`): the tag is a keyed BLAKE2s (RFC 7693)
of all else, the count goes up by one with each datagram of a node. Who sees a node for the first time, or after a silence,
believes it nothing before it has answered a challenge, which only somebody alive and with the secret can; from then on
no count is taken twice, and no challenge is answered twice. So nothing that was recorded before helps, whoever has restarted
since, and no clock is asked.

Promises, held by tests/test_sealed.py and tests/test_security_document.py: without the secret nothing gets in and nothing is
answered; an answer is never longer than what it answers; who replays keeps no node from proving itself again.
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
        self._challenges: OrderedDict[bytes, tuple[bytes, float]] = OrderedDict()
        """The nonce that a node is to answer with, and when it was asked."""
        self._answered: OrderedDict[bytes, int] = OrderedDict()
        """The count of each node's last challenge that was answered: what is not higher is a replay."""
        self._challenges_left = Budget(config.CHALLENGES_PER_S, now)
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
        elif kind == CHALLENGE:
            self._respond(node, count, body[:NONCE_LENGTH], source, now)
        elif kind == RESPONSE:
            self._take_response(node, count, body[:NONCE_LENGTH], now)
            if body[NONCE_LENGTH:] != NO_NONCE:
                self._respond(node, count, body[NONCE_LENGTH:], source, now)
        elif self._admits(node, count, source, now):
            return MAGIC + body
        return None

    # --- who is believed ---

    def _admits(self, node: bytes, count: int, source: Address, now: float) -> bool:
        session = self._sessions.get(node)
        if session is None or now - session.heard_at > config.SESSION_SILENT_S:
            self._challenge(node, source, now)
            self._counters["unproved"] += 1
            return False
        if now - session.proved_at > config.SESSION_S:
            self._challenge(node, source, now, is_known=True)
            if now - session.proved_at > config.SESSION_S + config.SESSION_SILENT_S:
                self._counters["unproved"] += 1
                return False
        if not session.take(count):
            self._counters["copies"] += 1
            return False
        session.heard_at = now
        return True

    def _challenge(self, node: bytes, source: Address, now: float, is_known: bool = False) -> None:
        """`is_known`: it was believed up to now, and does not wait behind whatever somebody replays."""
        nonce = self._nonce_for(node, now, is_known)
        if nonce != NO_NONCE:
            self.outbox.append((self._sealed(CHALLENGE, nonce + NO_NONCE), source))

    def _nonce_for(self, node: bytes, now: float, is_known: bool = False) -> bytes:
        """A nonce for a node to prove itself with; NO_NONCE where it has one, or too many others were asked."""
        _, asked_at = self._challenges.get(node, (b"", -inf))
        if now - asked_at < config.CHALLENGE_AGAIN_S or not (is_known or self._challenges_left.take(now)):
            return NO_NONCE
        nonce = base64url(os.urandom(NONCE_LENGTH * 3 // 4))
        self._challenges[node] = nonce, now
        self._challenges.move_to_end(node)
        if len(self._challenges) > config.MAX_NODES:
            self._challenges.popitem(last=False)
        return nonce

    def _respond(self, node: bytes, count: int, nonce: bytes, source: Address, now: float) -> None:
        """To whoever has the secret, once; to a node that is new, with a challenge in the same datagram, as long as its own."""
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
        is_new = session is None or now - session.heard_at > config.SESSION_SILENT_S
        own_nonce = self._nonce_for(node, now) if is_new else NO_NONCE
        self.outbox.append((self._sealed(RESPONSE, nonce + own_nonce), source))

    def _take_response(self, node: bytes, count: int, nonce: bytes, now: float) -> None:
        wanted, asked_at = self._challenges.get(node, (b"", -inf))
        if now - asked_at > config.SESSION_SILENT_S or not compare_digest(nonce, wanted):  # late: held back, perhaps
            self._counters["unproved"] += 1
            return
        del self._challenges[node]
        session = self._sessions.get(node)
        if session is not None and now - session.heard_at <= config.SESSION_SILENT_S:
            session.proved_at = session.heard_at = now
            return
        if session is None and len(self._sessions) >= config.MAX_NODES and not self._forget_silent(now):
            self._counters["over_limit"] += 1
            return
        self._sessions[node] = _Session(count, now)

    def _forget_silent(self, now: float) -> bool:
        silent = [node for node, session in self._sessions.items() if now - session.heard_at > config.SESSION_SILENT_S]
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
