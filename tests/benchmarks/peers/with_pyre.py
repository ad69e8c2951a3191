"""pyre: a node's services are its headers, which it can set only before it starts; ENTER and EXIT tell of nodes.

So `advertise` starts a node with one header, `advertise_many` one node with many.
"""

from __future__ import annotations

import json
import threading

from pyre import Pyre

from .board import Board


class Host:
    def __init__(self, address: str) -> None:
        self._address = address
        self._board = Board()
        self._nodes: list[Pyre] = []
        self._listener = Pyre("listener")
        self._names_of: dict[bytes, list[str]] = {}
        self.find, self.wait_gone, self.wait_all = self._board.find, self._board.wait_gone, self._board.wait_all
        self._listener.start()
        threading.Thread(target=self._listen, daemon=True).start()

    def advertise(self, name: str) -> None:
        self.advertise_many([name])

    def advertise_many(self, names: list[str]) -> None:
        node = Pyre("services")
        for name in names:
            node.set_header(name, f"{self._address}:50001")
        node.start()
        self._nodes.append(node)

    def _listen(self) -> None:
        for event in iter(self._listener.recv, None):
            kind, peer = event[0], event[1]
            if kind == b"ENTER":
                headers = json.loads(event[3])
                self._names_of[peer] = list(headers)
                self._board.put(headers.items())
            elif kind == b"EXIT":
                self._board.drop(self._names_of.pop(peer, []))
