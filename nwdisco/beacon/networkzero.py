"""NetworkZero's two ports, opened together: the LAN's by the link, this machine's by the door.

A NetworkZero program that finds the first one taken uses the second, whoever has it; so the second is opened only by
who has the first. Where a program of NetworkZero's was there before, the ports are tried again until it has gone.
"""

from __future__ import annotations

from collections.abc import Callable

from .. import config
from ..core.directory import Directory
from .doors.networkzero import NetworkzeroDoor
from .interfaces import Interface
from .links.networkzero import NetworkzeroLink
from .loop import Loop, Timer, log


class Networkzero:
    def __init__(
        self,
        loop: Loop,
        directory: Directory,
        own_ip: Callable[[], str],
        when_settled: Callable[[Callable[[], None]], None],
        port: int = config.NETWORKZERO_PORT,
        rpc_port: int = config.NETWORKZERO_RPC_PORT,
    ) -> None:
        self._loop = loop
        self._link = NetworkzeroLink(loop, directory, lambda advert: self._door.rpc.life_of(advert), port)
        self._door = NetworkzeroDoor(
            loop, directory, own_ip, when_settled, self._link.pause, self._link.forget, rpc_port
        )
        self._why_not: str | None = None
        self._again: Timer | None = None

    def start(self, interfaces: list[Interface]) -> None:
        self._link.moved(interfaces)
        self._open()

    def moved(self, interfaces: list[Interface]) -> None:
        """These interfaces are used from now on."""
        self._link.moved(interfaces)

    def stop(self) -> None:
        if self._again is not None:
            self._again.cancel()
        self._link.stop()
        self._door.close()

    @property
    def in_use(self) -> bool:
        """Whether programs of NetworkZero's on this machine use the beacon."""
        return self._door.in_use

    def status(self) -> dict[str, object]:
        return {
            "udp": self._link.address,
            "rpc": self._door.address,
            "why_not": self._why_not,
            "imported": len(self._link.imports),
            "exported": len(self._link.exports),
            "programs": len(self._door.rpc),
            "dropped": dict(self._link.counters),
            "refused": dict(self._door.rpc.counters),
        }

    def _open(self) -> None:
        """What can be opened; the rest again later."""
        before, self._why_not = self._why_not, self._link.open() or self._door.open()
        if self._why_not is not None:
            self._again = self._loop.call_later(config.NETWORKZERO_RETRY_S, self._open)
        if self._why_not is not None and self._why_not != before:
            log(f"NetworkZero: {self._why_not} (another program of this machine has it); tried again until it is free")
        if self._why_not is None and before is not None:
            log("NetworkZero: the ports are free now, and used")
