"""zenoh: peers that scout by multicast; a service is a liveliness token whose key carries name and address."""

from __future__ import annotations

import zenoh

from .board import Board

PREFIX = "nwbench"


class Host:
    def __init__(self, address: str) -> None:
        self._address = address
        self._board = Board()
        self.find, self.wait_gone, self.wait_all = self._board.find, self._board.wait_gone, self._board.wait_all
        self._tokens: list[zenoh.LivelinessToken] = []
        self._session = zenoh.open(zenoh.Config())
        self._liveliness = self._session.liveliness()
        self._subscriber = self._liveliness.declare_subscriber(f"{PREFIX}/**", self._heard, history=True)

    def advertise(self, name: str) -> None:
        self._tokens.append(self._liveliness.declare_token(f"{PREFIX}/{name}/{self._address}:50001"))

    def advertise_many(self, names: list[str]) -> None:
        for name in names:
            self.advertise(name)

    def _heard(self, sample: zenoh.Sample) -> None:
        _, name, address = str(sample.key_expr).split("/")
        if sample.kind == zenoh.SampleKind.PUT:
            self._board.put([(name, address)])
        else:
            self._board.drop([name])
