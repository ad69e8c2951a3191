"""Many nwdisco nodes in one process: real LAN protocol objects, each with a socket of its own, on the real clock.

They send as beacons do and hear the beacons of other hosts, but not each other: for a beacon on another host it is the
same, and one process can play a thousand nodes. Also the directory alone, to compare it with the directory behind a beacon.
"""

from __future__ import annotations

import resource
import selectors
import socket
import threading
import time
from base64 import urlsafe_b64encode
from collections.abc import Callable
from heapq import heapify, heappop, heappush
from random import Random
from statistics import median

from nwdisco.core.advert import Advert
from nwdisco.core.directory import Directory
from nwdisco.core.lan import Lan
from nwdisco.core.telling import BROADCAST, EVERYONE, MULTICAST
from nwdisco.settings import Settings

from .groups import LARGE, SMALL

START_GAP_S = 0.005
IN_PROCESS_CALLS = 500


class Node:
    def __init__(self, host: str, broadcast: str, random: Random) -> None:
        now = time.monotonic()
        self.directory = Directory(urlsafe_b64encode(random.randbytes(6)).decode())
        self.lan = Lan(self.directory, random, now)
        self.directory.on_own.append(lambda name, advert: self.lan.own_change(name, advert, time.monotonic()))
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.setblocking(False)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
        self.socket.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_LOOP, 0)
        self.socket.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton(host))
        self.socket.bind((host, 0))
        settings = Settings.from_environment({})
        self._multicast = (settings.group, settings.port)
        self._broadcast = (broadcast, settings.port)
        self._host = host
        self.planned_for = 0.0

    def advertise(self, names: list[str]) -> None:
        for name in names:
            self.directory.put(_advert(name, self.directory.node, f"{self._host}:50001"))

    def flush(self) -> None:
        outbox = self.lan.outbox
        while outbox:
            data, to = outbox.popleft()
            if isinstance(to, tuple):
                self.socket.sendto(data, to)
                continue
            if to in (EVERYONE, MULTICAST):
                self.socket.sendto(data, self._multicast)
            if to in (EVERYONE, BROADCAST):
                self.socket.sendto(data, self._broadcast)

    def read(self) -> None:
        while True:
            try:
                data, source = self.socket.recvfrom(2048)
            except BlockingIOError:
                return
            self.lan.receive(data, source, time.monotonic(), True)


class Host:
    def __init__(self, address: str) -> None:
        self._address = address
        self._broadcast = address.rpartition(".")[0] + ".255"
        self._random = Random(1)
        resource.setrlimit(resource.RLIMIT_NOFILE, (8192, 8192))

    def start(self, names_of_nodes: list[list[str]]) -> None:
        """A node for each list of names, a few milliseconds after each other; they live until this process ends."""
        threading.Thread(target=self._drive, args=(names_of_nodes,), daemon=True).start()

    def alone(self, names: list[str], known: str) -> list[float]:
        """A directory without a beacon: seconds for a name, for the small group, for the large one."""
        directory = Directory("12345678")
        for name in names:
            directory.put(_advert(name, "87654321", "10.0.0.1:1"), time.monotonic())
        calls: list[Callable[[], object]] = [
            lambda: directory.get(known),
            lambda: directory.group(SMALL),
            lambda: directory.group(LARGE),
        ]
        return [_median_s(call) for call in calls]

    def _drive(self, names_of_nodes: list[list[str]]) -> None:
        selector = selectors.DefaultSelector()
        shared = _shared_socket(self._address)
        selector.register(shared, selectors.EVENT_READ, None)
        starts = time.monotonic()
        due: list[tuple[float, int]] = [
            (starts + number * START_GAP_S, number) for number in range(len(names_of_nodes))
        ]
        heapify(due)
        nodes: dict[int, Node] = {}
        while True:
            now = time.monotonic()
            while due and due[0][0] <= now:
                number = heappop(due)[1]
                if number not in nodes:
                    node = nodes[number] = Node(self._address, self._broadcast, self._random)
                    selector.register(node.socket, selectors.EVENT_READ, number)
                    node.advertise(names_of_nodes[number])
                    node.lan.start(now)
                nodes[number].lan.wake(now)
                self._after(number, nodes[number], due)
            for key, _ in selector.select(max(0.0, due[0][0] - time.monotonic()) if due else None):
                if key.data is None:
                    self._read_for_all(shared, nodes, due)
                else:
                    nodes[key.data].read()
                    self._after(key.data, nodes[key.data], due)

    def _read_for_all(self, shared: socket.socket, nodes: dict[int, Node], due: list[tuple[float, int]]) -> None:
        """What another host says to everybody."""
        data, source = shared.recvfrom(2048)
        if source[0] == self._address:
            return
        for number, node in nodes.items():
            node.lan.receive(data, source, time.monotonic())
            self._after(number, node, due)

    def _after(self, number: int, node: Node, due: list[tuple[float, int]]) -> None:
        """Send what it wants sent, and wake it when it wants that. (A wake-up too many does no harm.)"""
        node.flush()
        at = node.lan.due
        if at is not None and at != node.planned_for:
            node.planned_for = at
            heappush(due, (at, number))


def _shared_socket(host: str) -> socket.socket:
    settings = Settings.from_environment({})
    shared = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    shared.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    shared.bind(("", settings.port))
    member = socket.inet_aton(settings.group) + socket.inet_aton(host)
    shared.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, member)
    return shared


def _advert(name: str, node: str, address: str) -> Advert:
    return Advert(
        name=name,
        address=address,
        properties={},
        ttl_s=5.0,
        node=node,
        holder=node,
        born=time.monotonic(),
        picked=False,
    )


def _median_s(call: Callable[[], object]) -> float:
    times = []
    for _ in range(IN_PROCESS_CALLS):
        began = time.perf_counter()
        call()
        times.append(time.perf_counter() - began)
    return median(times)
