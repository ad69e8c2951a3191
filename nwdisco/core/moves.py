"""Moves that are claimed: a node says at another address that it has moved; or somebody else does.

It is believed when nobody answers at the old address. So many claims a second are looked into: whoever makes them up does
not get others asked for more than that. A node that has really moved and is not believed now is believed MOVE_AFTER_S later.
"""

from __future__ import annotations

from collections.abc import Callable

from .. import config
from .budget import Budget
from .contacts import Address
from .peers import Peer, Peers
from .timers import Timers


class Moves:
    def __init__(
        self,
        peers: Peers,
        timers: Timers,
        ask: Callable[[Address], None],
        on_refuted: Callable[[], None],
        now: float,
    ) -> None:
        """`ask` sends an address the question whether somebody is there; `on_refuted` hears of each claim that was none."""
        self._peers = peers
        self._timers = timers
        self._ask = ask
        self._on_refuted = on_refuted
        self._claims_left = Budget(config.MOVES_PER_S, now)

    def claim(self, peer: Peer, source: Address, place: int, now: float) -> None:
        """A peer is said to be at another address, where its place is a higher one."""
        if peer.doubted_at is not None or not self._claims_left.take(now):
            return
        peer.doubted_at = now
        for delay_s in config.MOVE_ASKS_S:
            self._timers.at(now + delay_s, lambda _now: self._ask_unless_heard(peer, now))
        self._timers.at(now + config.MOVE_S, lambda later: self._settle(peer, source, place, later))

    def _ask_unless_heard(self, peer: Peer, doubted_at: float) -> None:
        if peer.address_at <= doubted_at:
            self._ask(peer.address)

    def _settle(self, peer: Peer, source: Address, place: int, now: float) -> None:
        doubted_at, peer.doubted_at = peer.doubted_at, None
        if self._peers.get(peer.node) is not peer or doubted_at is None or peer.address_at > doubted_at:
            self._on_refuted()
            return
        peer.place = place
        self._peers.move(peer, source, now)
