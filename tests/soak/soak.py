"""The soak: rounds of trouble, each followed by calm, in which every host's list must come to what is really there."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import ClassVar, NamedTuple

from tests.machines import Failed, Program
from tests.namespaces import Network
from tests.soak.figures import Sample, by_host, grown, sample, spread, table
from tests.soak.site import Site, Station

CALM_S = 12.0
"""Within so long after the last trouble, all lists are right."""
TROUBLES = (5, 15)
"""In a round, so many at least and at most."""
FLOOD_RATE = 10_000
FLOOD_S = 3.0
FLOODS = (
    "known-beats",
    "known-beats-forged",
    "new-nodes",
    "new-nodes-forged",
    "questions-forged",
    "garbage-forged",
    "badly-sealed-forged",
    "replay",
    "replay-forged",
)


class Wrong(NamedTuple):
    """A list that did not come to what is there."""

    round: int
    host: int
    amiss: list[tuple[str, str]]


class Soak:
    def __init__(self, place: Path, hosts: int, seed: int, secret: str = "") -> None:
        self.random = Random(seed)
        self.network = Network(place)
        self.rounds = 0
        self.done: Counter[str] = Counter()
        """Troubles made, by kind."""
        self.agreed_s: list[float] = []
        """How long after the last trouble of each round all lists were right."""
        self.wrong: list[Wrong] = []
        self.failed: list[str] = []
        """Calls of programs that raised."""
        self.samples: dict[int, list[Sample]] = {}
        self.flood_rates: list[float] = []
        self.lists = 0
        """That were compared, and right in the end or not."""
        try:
            self.site = Site(self.network, hosts, {"NWDISCO_SECRET": secret} if secret else {})
            self._attacker = self._make_attacker()
        except BaseException:
            self.network.close()
            raise
        self._unplugged: set[Station] = set()
        self._lossy: set[Station] = set()

    def _make_attacker(self) -> Program:
        host = self.network.host()
        command = [*host.prefix, sys.executable, "-m", "tests.attacker", "eth0", host.ip(), "239.255.26.30", "26300"]
        attacker = Program(command, dict(os.environ))
        host.programs.append(attacker)
        return attacker

    def run(self, seconds: float, say: Callable[[str], None]) -> None:
        """Rounds for so long, then the end of all programs, and the last look at everything."""
        end = time.monotonic() + seconds
        self._attacker.call("record")
        self._calm()
        while time.monotonic() < end:
            self.rounds += 1
            self._trouble()
            self._calm()
            if self.rounds % 10 == 0:
                say(f"round {self.rounds}: {len(self.wrong)} wrong lists, {dict(self.done)}")
        for station in self.site.stations:
            station.end_all_programs(self.random)
        self._calm()

    # --- trouble ---

    def _trouble(self) -> None:
        flooding = ""
        if self.random.random() < 0.4:
            flooding = self.random.choice(FLOODS)
            self._attacker.begin("flood", flooding, FLOOD_RATE, FLOOD_S)
            self.done[f"flood: {flooding}"] += 1
        for _ in range(self.random.randint(*TROUBLES)):
            station = self.random.choice(self.site.stations)
            what = self.random.choices(list(self._troubles), [weight for weight, _ in self._troubles.values()])[0]
            try:
                self.done[what] += self._troubles[what][1](self, station)
            except (
                Failed,
                EOFError,
                subprocess.TimeoutExpired,
            ) as failed:  # no program's call may fail, whatever happens to the beacon
                self.failed.append(f"round {self.rounds}, host {station.host.number}, {what}: {failed}")
            time.sleep(self.random.uniform(0, 0.4))
        if flooding:
            self.flood_rates.append(self._attacker.end()["rate"])
        self._repair()

    def _pull_cable(self, station: Station) -> bool:
        if station in self._unplugged:
            return False
        station.host.cable(False)
        self._unplugged.add(station)
        return True

    def _lose_datagrams(self, station: Station) -> bool:
        if station in self._lossy:
            return False
        station.lose(self.random.choice((10, 30, 60)))
        self._lossy.add(station)
        return True

    def _kill_beacon(self, station: Station) -> bool:
        """Of every other host: the rest show what a beacon grows to."""
        return station.host.number % 2 == 0 and station.kill_beacon()

    def _put_back_cable(self, _station: Station) -> bool:
        """Of any host that has none, whichever was picked."""
        if not self._unplugged:
            return False
        self._unplugged.pop().host.cable(True)
        return True

    _troubles: ClassVar[dict[str, tuple[int, Callable[[Soak, Station], bool]]]] = {
        "program started": (5, lambda soak, station: station.start_program(soak.random)),
        "advertised": (6, lambda soak, station: station.advertise(soak.random)),
        "unadvertised": (3, lambda soak, station: station.unadvertise(soak.random)),
        "program ended": (2, lambda soak, station: station.end_program(soak.random, is_killed=False)),
        "program killed": (2, lambda soak, station: station.end_program(soak.random, is_killed=True)),
        "beacon killed": (4, _kill_beacon),
        "cable pulled": (2, _pull_cable),
        "cable put back": (2, _put_back_cable),
        "datagrams lost": (1, _lose_datagrams),
    }
    """What may happen to a host, with how often it is tried beside the others."""

    def _repair(self) -> None:
        for station in self._unplugged:
            station.host.cable(True)
        for station in self._lossy:
            station.lose_nothing()
        self._unplugged.clear()
        self._lossy.clear()

    # --- calm ---

    def _calm(self) -> None:
        began_at = time.monotonic()
        while wrong := self.site.wrong():
            if time.monotonic() - began_at > CALM_S:
                break
            time.sleep(0.05)
        self.agreed_s.append(time.monotonic() - began_at)
        self.lists += len(self.site.stations)
        self.wrong += [Wrong(self.rounds, host, sorted(amiss)[:10]) for host, amiss in wrong.items()]
        for station in self.site.stations:
            if station.beacon_pid():
                self.samples.setdefault(station.host.number, []).append(sample(station))

    # --- the end ---

    def grown(self) -> dict[int, list[str]]:
        """By number of the host, what has grown."""
        return {number: what for number, of_one in self.samples.items() if (what := grown(of_one))}

    def report(self) -> str:
        rows: list[tuple[str, object]] = [
            ("hosts", len(self.site.stations)),
            ("rounds", self.rounds),
            ("lists compared", self.lists),
            ("lists wrong after calm", len(self.wrong)),
            ("calls of programs that raised", len(self.failed)),
            ("seconds until all lists were right: median / p99 / most", spread(self.agreed_s)),
            *sorted(self.done.items()),
            ("datagrams a second in floods: median / p99 / most", spread(self.flood_rates)),
        ]
        wrong = [f"round {one.round}, host {one.host}: {one.amiss}" for one in self.wrong]
        return "\n\n".join([table(("what", "figure"), rows), by_host(self.samples), *wrong, *self.failed])

    def close(self) -> None:
        try:
            self.site.close()
        finally:
            self.network.close()
