"""The NetworkZero link and door without their sockets: datagrams from the wire, requests from programs, and time that passes."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable

from nwdisco import addresses, config
from nwdisco.beacon.doors.networkzero import _completed, _has_host_name
from nwdisco.core.advert import Advert
from nwdisco.core.directory import Directory
from nwdisco.core.networkzero_rpc import Rpc, Text
from tests.networkzero_desk import IP, Desk

from .limits import replaced, small
from .rules import check_directory
from .script import PAUSES_S, Step, steps

SOURCES = ("10.0.0.9", "192.168.100.100", IP, "10.0.0.10")
OWN_IP = "10.0.0.1"
BIG_REQUEST = 8192


class _NoNetwork:
    """In place of the socket module."""

    @staticmethod
    def gethostbyname(host: str) -> str:
        host.encode("idna")  # as the real one does, before it asks anybody
        assert host.lower() == "localhost", f"{host[:60]!r} is looked up while the beacon waits"
        return "127.0.0.1"


ALONE = {"socket": _NoNetwork, "own_addresses": lambda: ["10.0.0.1", "127.0.0.1"], "free_port": lambda: 50_000}
"""What of addresses.py asks the system, answered without it."""


def link(data: bytes) -> None:
    with small():
        desk = Desk()
        desk.put("ours", "10.0.0.7:80")
        for step in steps(data):
            _play(desk, step)
            _check(desk)
        check_directory(desk.directory, desk.now)


def _play(desk: Desk, step: Step) -> None:
    action, name = step.bits(4, 4), "n" + step.payload[:1].hex()
    if action == 15:
        desk.put(name, "10.0.0.9:80", node="node-two")
    elif action == 14:
        desk.remove(name, node="node-two")
    elif action == 13:
        desk.put(name)
    elif action == 12:
        desk.remove(name)
    else:
        desk.hear(step.payload, SOURCES[step.bits(0, 2)])
    desk.run(PAUSES_S[step.bits(2, 2)])


def _check(desk: Desk) -> None:
    assert len(desk.imports) <= config.MAX_NETWORKZERO_IMPORTS, f"{len(desk.imports)} imports"
    assert len(desk.heard._times) <= 2 * config.MAX_NETWORKZERO_IMPORTS
    assert len(desk.exports) == sum(advert.properties == {} for advert in desk.directory.all())
    held = desk.directory.count_held_by(desk.imports.leases.holder)
    assert held == len(desk.imports), f"{len(desk.imports)} leases, {held} adverts"
    ours = desk.directory.held(desk.directory.node + "#p", "ours")
    assert ours is not None
    assert (ours.address, ours.properties) == ("10.0.0.7:80", {})


class Programs:
    """The door that NetworkZero's programs talk to; each request has a number for its client."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.directory = Directory("node-own")
        self.later: list[Callable[[], None]] = []
        self.asked = 0
        self.answered: Counter[bytes] = Counter()
        self.rpc = Rpc(
            self.directory,
            lambda: self.now,
            lambda: OWN_IP,
            self._complete,
            lambda action: action(),
            lambda paused: None,
            lambda: None,
        )
        self.directory.on_event.append(self.rpc.changed)

    def _complete(self, address: Text, then: Callable[[str | None], None]) -> None:
        """As the door does; what is looked up in a thread is answered later."""
        if _has_host_name(address):
            self.later.append(lambda: then("10.9.9.9:9"))
        else:
            then(_completed(address))

    def ask(self, request: bytes) -> None:
        self.asked += 1
        self.rpc.receive((b"%d" % self.asked,), request)

    def run(self, for_s: float) -> None:
        for action in self.later:
            action()
        self.later.clear()
        end = self.now + for_s
        while (due := self.rpc.due) is not None and due <= end:
            self.now = max(self.now, due)
            self.rpc.wake(self.now)
        self.now = end
        while self.rpc.outbox:
            (client,), answer = self.rpc.outbox.popleft()
            self.answered[client] += 1
            json.loads(answer)
        assert len(self.rpc) <= config.MAX_NETWORKZERO_ADVERTS
        assert len(self.rpc) == self.directory.count_held_by(self.rpc.holder)
        assert self.rpc.waiting <= config.MAX_NETWORKZERO_WAITING

    def others(self, step: Step) -> None:
        """Another node's advert comes and goes."""
        name = "n" + step.payload[:1].hex()
        if not self.directory.remove("node-two", name):
            self.directory.put(Advert(name, "10.0.0.2:1", {}, 5.0, "node-two", "node-two", self.now), self.now)


def rpc(data: bytes) -> None:
    """Every request gets one answer, in the end, and none makes the beacon itself wait for a name server."""
    with small(), replaced(addresses, ALONE):
        programs = Programs()
        for step in steps(data):
            if step.bits(4, 4) == 15:
                programs.others(step)
            else:
                programs.ask(step.payload[:BIG_REQUEST])
            programs.run(PAUSES_S[step.bits(2, 2)])
        check_directory(programs.directory, programs.now)
        programs.run(config.NETWORKZERO_WAIT_S)
        assert programs.rpc.waiting == 0
        assert programs.rpc.due is None
        wrong = {client: times for client, times in programs.answered.items() if times != 1}
        assert len(programs.answered) == programs.asked, f"{programs.asked} asked, {len(programs.answered)} answered"
        assert not wrong, f"answered more than once: {wrong}"
