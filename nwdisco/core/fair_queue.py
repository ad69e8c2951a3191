"""The queue of answers: machines have their turns one after another, and a machine's ports share its turns.

Bounded for each address, for each machine and in total. What is too much is dropped where most waits, so whoever asks for a
lot, from however many ports, keeps nobody else out. Nothing here takes longer with a long queue than with a short one.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable, Sequence
from typing import Generic, TypeVar

from .. import config
from .contacts import Address

Key = TypeVar("Key", bound=Hashable)


class Answer:
    """What one address is still to be told."""

    __slots__ = ("address", "since", "until", "went_after", "went_at")

    def __init__(self, address: Address, since: int, until: int) -> None:
        self.address = address
        self.since = since
        """It has been told what changed up to this version ..."""
        self.until = until
        """... and is told the rest up to this one."""
        self.went_after = since
        """The last that went out begins after this version."""
        self.went_at = float("-inf")

    def went(self, reached: int, now: float) -> None:
        """It was told what changed up to a version."""
        self.went_after, self.since, self.went_at = self.since, reached, now

    def covers(self, since: int, until: int, now: float) -> bool:
        """Whether a stretch waits already, or went out so lately that who asks for it cannot have missed it yet."""
        after = self.went_after if now - self.went_at < config.ANSWER_GAP_S else self.since
        return after <= since and until <= self.until


class Waiters(Generic[Key]):
    """Those who wait, in the order of their turns, and who of them waits for most."""

    def __init__(self) -> None:
        self.total = 0
        self._waits_for: OrderedDict[Key, int] = OrderedDict()
        """How many things each waits for; whose turn is next stands first."""
        self._waiting_for: dict[int, dict[Key, None]] = {}
        """Who waits for so many; who does so since last stands last."""
        self._most = 0

    def count(self, key: Key, by: int) -> None:
        """It waits for one more (1), or for one less (-1)."""
        before = self._waits_for.get(key, 0)
        after = before + by
        self.total += by
        if before:
            del self._waiting_for[before][key]
            if not self._waiting_for[before]:
                del self._waiting_for[before]
        if after:
            self._waits_for[key] = after
            self._waiting_for.setdefault(after, {})[key] = None
        else:
            del self._waits_for[key]
        if after > self._most or self._most not in self._waiting_for:
            self._most = after

    def next(self) -> Key:
        """Whose turn it is; everybody else's comes before it has another."""
        key = next(iter(self._waits_for))
        self._waits_for.move_to_end(key)
        return key

    def greediest(self) -> Key:
        """Who waits for most, and of several the one that does so since last."""
        return next(reversed(self._waiting_for[self._most]))


class FairQueue:
    def __init__(self, each: int, per_machine: int, total: int) -> None:
        """How many answers wait at most: for one address, for all of one IP, and of all."""
        self._each = each
        self._per_machine = per_machine
        self._total = total
        self._machines: Waiters[str] = Waiters()
        self._ports: dict[str, Waiters[int]] = {}
        self._answers: dict[Address, list[Answer]] = {}

    def __len__(self) -> int:
        return self._machines.total

    def of(self, address: Address) -> Sequence[Answer]:
        """What waits for one address, the oldest first."""
        return self._answers.get(address, ())

    def put(self, answer: Answer) -> None:
        """Behind all others of its address. Then what is too much is dropped: the newest of who waits for most."""
        if len(self.of(answer.address)) == self._each:
            return
        ip = answer.address[0]
        if ip not in self._ports:
            self._ports[ip] = Waiters()
        self._answers.setdefault(answer.address, []).append(answer)
        self._count(answer.address, 1)
        if self._ports[ip].total > self._per_machine:
            self._drop_newest(ip)
        elif len(self) > self._total:
            self._drop_newest(self._machines.greediest())

    def next(self) -> Answer:
        """Whose turn it is. It stays in the queue, and everybody else's turn comes before its next one."""
        ip = self._machines.next()
        return self._answers[ip, self._ports[ip].next()][0]

    def remove(self, answer: Answer) -> None:
        answers = self._answers[answer.address]
        answers.remove(answer)
        if not answers:
            del self._answers[answer.address]
        self._count(answer.address, -1)

    def _drop_newest(self, ip: str) -> None:
        self.remove(self._answers[ip, self._ports[ip].greediest()][-1])

    def _count(self, address: Address, by: int) -> None:
        ip, port = address
        self._machines.count(ip, by)
        self._ports[ip].count(port, by)
        if not self._ports[ip].total:
            del self._ports[ip]
