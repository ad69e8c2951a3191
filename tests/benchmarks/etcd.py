"""How fast the etcd link is between two LANs: `python -m tests.benchmarks.etcd` prints a Markdown table.

Hosts are network namespaces, which need root; etcd runs on the router between the LANs, without fsync. Each figure is the
median of RUNS, with the least and the most beside it. The clock is the one that all processes of the machine share.
"""

from __future__ import annotations

import random
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from tests import namespaces
from tests.benchmarks.lab import memory_mb
from tests.etcd import missing_etcd
from tests.machines import Program, wait_until
from tests.namespaces import Network
from tests.two_lans import Lans, names, ready

RUNS: Final = 20
LIMIT_S: Final = 30.0


class Bench:
    def __init__(self, lans: Lans) -> None:
        self.lans = lans
        self.east, self.west = lans.host(0), lans.host(1)
        self.programs = ready(self.east, self.west)

    def found_s(self, run: int) -> float:
        here, there = self.programs
        there.begin("discover_timed", f"found/{run}", LIMIT_S)
        time.sleep(random.uniform(0.3, 0.6))  # it waits by then, and is in step with nobody's timer
        _, began_at = here.call("advertise_timed", f"found/{run}")
        address, found_at = there.end()
        assert address is not None
        here.call("unadvertise", f"found/{run}")
        return float(found_at - began_at)

    def killed_s(self, run: int) -> float:
        doomed = self.east.program()
        doomed.call("advertise", "doomed", f":{run + 1}")
        began_at = self._when_gone("doomed", doomed.kill)
        doomed.close()
        return began_at

    def cable_s(self, run: int) -> float:
        self.programs[0].call("advertise", "lamp", f":{run + 1}")
        gone_s = self._when_gone("lamp", lambda: self.east.cable(False))
        self.east.cable(True)
        wait_until(lambda: "lamp" in names(self.programs[1]), "registered again", LIMIT_S)
        self.programs[0].call("unadvertise", "lamp")
        wait_until(lambda: not names(self.programs[1]), "taken back", LIMIT_S)
        return gone_s

    def etcd_s(self, run: int) -> float:
        here, there = self.programs
        there.begin("discover_timed", f"away/{run}", LIMIT_S)
        began_at = time.monotonic()
        self.lans.etcd.kill()
        here.call("advertise", f"away/{run}", ":1")
        self.lans.etcd.start()
        address, found_at = there.end()
        assert address is not None
        here.call("unadvertise", f"away/{run}")
        wait_until(lambda: not names(there), "taken back", LIMIT_S)
        return float(found_at - began_at)

    def _when_gone(self, name: str, end: Callable[[], None]) -> float:
        """From the end of a service to when a watch on the other LAN says so."""
        watcher: Program = self.west.program()
        watcher.call("watch", wait_for_s=LIMIT_S)
        assert watcher.call("next_event")[:2] == ["joined", name]
        watcher.begin("next_event")
        time.sleep(random.uniform(0.3, 1.3))
        began_at = time.monotonic()
        end()
        assert watcher.end()[:2] == ["left", name]
        gone_s = time.monotonic() - began_at
        watcher.close()
        return gone_s


ROWS: Final[dict[str, Callable[[Bench, int], float]]] = {
    "advertise on one LAN, until a waiting discover on the other has it": Bench.found_s,
    "a program killed with -9, until a watch on the other LAN says that it left": Bench.killed_s,
    "a cable pulled, until a watch on the other LAN says that what was behind it left": Bench.cable_s,
    "etcd killed with -9 and started again, until what was advertised meanwhile is found on the other LAN": Bench.etcd_s,
}


def _time(seconds: float) -> str:
    return f"{seconds * 1e3:.1f} ms" if seconds < 0.1 else f"{seconds:.2f} s"


def main() -> int:
    reason = namespaces.why_not() or missing_etcd()
    if reason is not None:
        print(reason, file=sys.stderr)
        return 2
    with tempfile.TemporaryDirectory(prefix="nwd-") as place:
        network = Network(Path(place))
        lans = Lans(network)
        try:
            lans.etcd.start()
            bench = Bench(lans)
            bare = lans.host(2, is_bare=True)
            ready(bare)
            with_link, without = (memory_mb(host.beacon_pid()) for host in (bench.east, bare))
            print(f"A beacon with the link has {with_link:.1f} MB of memory, one without it {without:.1f} MB.\n")
            print("| what is timed | median | least | most |\n| --- | --- | --- | --- |")
            for what, measure in ROWS.items():
                times = [measure(bench, run) for run in range(RUNS)]
                print("|", " | ".join([what, *map(_time, (statistics.median(times), min(times), max(times)))]), "|")
        finally:
            lans.close()
            network.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
