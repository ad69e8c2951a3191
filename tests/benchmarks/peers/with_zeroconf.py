"""python-zeroconf: services registered under one type, and a browser that asks for each one's address."""

from __future__ import annotations

import socket
import time

from zeroconf import ServiceBrowser, ServiceInfo, ServiceListener, Zeroconf

from .board import Board

TYPE = "_nwbench._tcp.local."


class Host(ServiceListener):
    def __init__(self, address: str) -> None:
        self._address = address
        self._zeroconf = Zeroconf()
        self._board = Board()
        self._browser = ServiceBrowser(self._zeroconf, TYPE, self)
        self.find, self.wait_gone, self.wait_all = self._board.find, self._board.wait_gone, self._board.wait_all

    def advertise(self, name: str) -> None:
        server = f"host-{self._address.replace('.', '-')}.local."
        addresses = [socket.inet_aton(self._address)]
        self._zeroconf.register_service(ServiceInfo(TYPE, f"{name}.{TYPE}", 50001, addresses=addresses, server=server))

    def advertise_many(self, names: list[str]) -> None:
        for name in names:
            self.advertise(name)

    def look_up(self, name: str) -> float:
        times = []
        for _ in range(1000):
            began = time.perf_counter()
            found = self._zeroconf.get_service_info(TYPE, f"{name}.{TYPE}")
            times.append(time.perf_counter() - began)
            if found is None:
                raise LookupError(name)
        return sorted(times)[len(times) // 2]

    # --- called by the browser ---

    def add_service(self, zc: Zeroconf, type_: str, name: str) -> None:
        info = zc.get_service_info(type_, name)
        if info is not None:
            self._board.put([(name.removesuffix(f".{TYPE}"), info.parsed_addresses()[0])])

    def update_service(self, zc: Zeroconf, type_: str, name: str) -> None:
        self.add_service(zc, type_, name)

    def remove_service(self, zc: Zeroconf, type_: str, name: str) -> None:
        self._board.drop([name.removesuffix(f".{TYPE}")])
