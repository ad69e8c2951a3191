"""The hosts of a soak, with what is really on them: which programs run, and what each of them advertises."""

from __future__ import annotations

import os
import signal
import sys
from itertools import count
from random import Random

from tests.machines import AGENT, Failed, Program, alive
from tests.namespaces import Host, Network, run

MOST_PROGRAMS = 3
"""On a host at a time, besides the one that reads its list."""
SHARED_NAMES = 5
"""Names that several programs advertise; each program has names of its own besides."""


class Station:
    """A host, the program that reads its list, and the programs that come and go."""

    def __init__(self, host: Host) -> None:
        self.host = host
        self.reader = host.program()
        self.programs: dict[Program, dict[str, str]] = {}
        """Each with the names that it advertises and their ports."""
        self._numbers = count()

    # --- what is there ---

    def there(self) -> set[tuple[str, str]]:
        """All that programs of this host advertise, with the addresses that it is reached at."""
        ip = self.host.ip()
        return {(name, f"{ip}:{port}") for names in self.programs.values() for name, port in names.items()}

    def beacon_pid(self) -> int:
        """0 while there is none."""
        lock = self.host.runtime_dir / "beacon.lock"
        text = lock.read_text().strip() if lock.exists() else ""
        return int(text) if text and alive(int(text)) else 0

    # --- what happens: each says whether anything did ---

    def start_program(self, random: Random) -> bool:
        if len(self.programs) == MOST_PROGRAMS:
            return False
        program = Program([*self.host.prefix, sys.executable, str(AGENT)], self.host.env)
        self.programs[program] = {}
        for _ in range(random.randint(1, 5)):
            self._advertise(program, f"{self.host.number}/{next(self._numbers)}")
        return True

    def advertise(self, random: Random) -> bool:
        if not self.programs:
            return False
        is_shared = random.random() < 0.3
        name = f"shared/{random.randrange(SHARED_NAMES)}" if is_shared else f"{self.host.number}/{next(self._numbers)}"
        self._advertise(random.choice(list(self.programs)), name)
        return True

    def unadvertise(self, random: Random) -> bool:
        mine = [(program, name) for program, names in self.programs.items() for name in names]
        if not mine:
            return False
        program, name = random.choice(mine)
        program.call("unadvertise", name)
        del self.programs[program][name]
        return True

    def end_program(self, random: Random, is_killed: bool) -> bool:
        if not self.programs:
            return False
        program = random.choice(list(self.programs))
        del self.programs[program]
        if is_killed:
            program.kill()
        else:
            program.finish()
        program.close()
        return True

    def kill_beacon(self) -> bool:
        pid = self.beacon_pid()
        if pid:
            os.kill(pid, signal.SIGKILL)
        return bool(pid)

    def lose(self, percent: int) -> None:
        self.host.drop(f"meta l4proto udp numgen random mod 100 < {percent}")

    def lose_nothing(self) -> None:
        run(*self.host.prefix, "nft", "delete", "table", "inet", "t")

    def end_all_programs(self, random: Random) -> None:
        while self.end_program(random, is_killed=False):
            continue

    def close(self) -> None:
        for program in self.programs:
            program.close()

    def _advertise(self, program: Program, name: str) -> None:
        address = program.call("advertise", name)
        self.programs[program][name] = address.rpartition(":")[2]


class Site:
    """All stations on one LAN."""

    def __init__(self, network: Network, hosts: int, env: dict[str, str]) -> None:
        self.network = network
        self.stations: list[Station] = []
        for _ in range(hosts):
            host = network.host()
            host.env |= env
            self.stations.append(Station(host))

    def wrong(self) -> dict[int, set[tuple[str, str]]]:
        """By number of the host, what its list has too much or too little of; empty when all lists are right."""
        there = set().union(*(station.there() for station in self.stations))
        names = {name for name, _ in there}
        for station in self.stations:
            station.reader.begin("discover_all")
        found = {}
        for station in self.stations:
            try:
                listed = {(name, address) for name, address in station.reader.end()}
            except Failed as failed:
                found[station.host.number] = {("could not list", str(failed))}
                continue
            amiss = (listed - there) | {(name, "missing") for name in names - {name for name, _ in listed}}
            if amiss:
                found[station.host.number] = amiss
        return found

    def close(self) -> None:
        for station in self.stations:
            station.close()
