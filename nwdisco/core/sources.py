"""Where datagrams come from: how many a second are read from one address, and who is there that does not belong to us."""

from __future__ import annotations

from collections import OrderedDict
from typing import NamedTuple

from .. import config
from .budget import Budget
from .wire import HAS_NO_SECRET, HAS_SECRET, OTHER_ROOM, OTHER_SECRET, OTHER_VERSION, Stranger

SAID = {
    OTHER_VERSION: "speaks another version of the protocol: update nwdisco there or here",
    OTHER_ROOM: "is in another room (NWDISCO_ROOM)",
    OTHER_SECRET: "has another secret (NWDISCO_SECRET), or sends forged datagrams",
    HAS_SECRET: "has a secret, this beacon has none: set NWDISCO_SECRET here too, if they belong together",
    HAS_NO_SECRET: "has no secret, this beacon has one: set NWDISCO_SECRET there too, if they belong together",
}
"""What a stranger is, and what to do; what is no nwdisco at all is not worth a line."""
MAX_STRANGERS = 1000


class Sources:
    """A budget of datagrams for each address that they come from."""

    def __init__(self) -> None:
        self._budgets: OrderedDict[str, Budget] = OrderedDict()

    def admits(self, ip: str, now: float) -> bool:
        """Whether one more datagram is read."""
        budget = self._budgets.get(ip)
        if budget is None:
            budget = self._budgets[ip] = Budget(config.SOURCE_PER_S, now)
            if len(self._budgets) > config.MAX_SOURCES:
                self._budgets.popitem(last=False)
        else:
            self._budgets.move_to_end(ip)
        return budget.take(now)


class Seen(NamedTuple):
    datagrams: int
    last_at: float


class Strangers:
    """Who was heard that is none of ours, by reason and address: a bounded memory."""

    def __init__(self) -> None:
        self._seen: dict[Stranger, Seen] = {}
        self._said: set[str] = set()

    def note(self, stranger: Stranger, now: float) -> bool:
        """Heard once more; True when it is the first of its kind that is worth a word."""
        seen = self._seen.pop(stranger, Seen(0, now))
        self._seen[stranger] = Seen(seen.datagrams + 1, now)
        if len(self._seen) > MAX_STRANGERS:
            del self._seen[next(iter(self._seen))]
        is_new = stranger.reason in SAID and stranger.reason not in self._said
        self._said.add(stranger.reason)
        return is_new

    @staticmethod
    def first_words(stranger: Stranger) -> str:
        return f"{stranger.ip} {SAID[stranger.reason]} (said once)"

    def status(self, now: float) -> list[dict[str, object]]:
        return [
            {
                "reason": stranger.reason,
                "ip": stranger.ip,
                "datagrams": seen.datagrams,
                "heard_s_ago": round(now - seen.last_at, 3),
            }
            for stranger, seen in self._seen.items()
        ]
