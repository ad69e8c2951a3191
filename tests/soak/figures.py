"""What a soak measures of each beacon, and the tables that it prints."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from statistics import median
from typing import NamedTuple

from tests.namespaces import run
from tests.soak.site import Station

ENOUGH_ROUNDS = 40
"""Of one beacon, to say whether its memory grows: in fewer, some flood may still be its first."""


class Sample(NamedTuple):
    """One beacon when all was calm."""

    pid: int
    rss_kb: int
    files: int
    """Open file descriptors, those of its programs' connections not counted."""
    threads: int
    processes: int
    """On its host, those that the soak runs there not counted: the beacon alone, if all is well."""
    runtime_files: int


def sample(station: Station) -> Sample:
    pid = station.beacon_pid()
    status = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    own = {program.pid for program in (*station.programs, *station.host.programs)}
    there = {int(number) for number in run("ip", "netns", "pids", station.host.namespace).split()}
    return Sample(
        pid,
        int(status["VmRSS"].split()[0]),
        len(os.listdir(f"/proc/{pid}/fd")) - _connections(pid),
        int(status["Threads"]),
        len(there - own),
        len(os.listdir(station.host.runtime_dir)),
    )


def _connections(pid: int) -> int:
    """How many connections of programs a beacon has."""
    lines = [line.split() for line in Path(f"/proc/{pid}/net/unix").read_text().splitlines()]
    accepted = {line[6] for line in lines if len(line) > 7 and line[7].endswith("beacon.sock") and line[5] == "03"}
    held = set()
    for number in os.listdir(f"/proc/{pid}/fd"):
        try:
            held.add(os.readlink(f"/proc/{pid}/fd/{number}"))
        except FileNotFoundError:  # closed since it was listed
            continue
    return sum(f"socket:[{inode}]" in held for inode in accepted)


def table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """In Markdown."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(str(cell) for cell in line) + " |" for line in lines)


def grown(samples: Sequence[Sample]) -> list[str]:
    """What a beacon has more of at the end than it had before, if it is the same one; memory by its quarters."""
    found = []
    first, last = samples[0], samples[-1]
    for what in ("files", "threads", "processes", "runtime_files"):
        before, after = getattr(first, what), getattr(last, what)
        if after > before:
            found.append(f"{what} {before} -> {after}")
    lived = [one for one in samples if one.pid == last.pid]
    quarter = len(lived) // 4
    if len(lived) >= ENOUGH_ROUNDS:
        early = max(one.rss_kb for one in lived[quarter : 2 * quarter])
        late = max(one.rss_kb for one in lived[-quarter:])
        if late > early * 1.1 + 1024:
            found.append(f"memory {early} -> {late} kB")
    return found


def by_host(samples: dict[int, list[Sample]]) -> str:
    rows = []
    for number, of_one in samples.items():
        first, last = of_one[0], of_one[-1]
        rows.append(
            (
                number,
                len({one.pid for one in of_one}),
                *(f"{kb / 1024:.1f}" for kb in (first.rss_kb, max(one.rss_kb for one in of_one), last.rss_kb)),
                f"{first.files} / {max(one.files for one in of_one)} / {last.files}",
                f"{first.threads} / {last.threads}",
                f"{first.processes} / {last.processes}",
                f"{first.runtime_files} / {last.runtime_files}",
                "; ".join(grown(of_one)) or "nothing",
            )
        )
    head = (
        "host",
        "beacons",
        "MB first",
        "MB most",
        "MB last",
        "files first / most / last",
        "threads",
        "processes",
        "files in its directory",
        "grown",
    )
    return table(head, rows)


def spread(values: Sequence[float]) -> str:
    if not values:
        return "-"
    in_order = sorted(values)
    return f"{median(in_order):.2f} / {in_order[len(in_order) * 99 // 100]:.2f} / {in_order[-1]:.2f}"
