"""`python -m tests.benchmarks`: measure, print the tables, and with --write copy them to docs/benchmarks.md."""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import tomllib
import venv
from collections.abc import Sequence
from pathlib import Path

from . import growth, report, rows
from .lab import ROOT, BenchmarkError, Lab
from .messages import parts as messages
from .namespaces import Network
from .rows import FLOOR, LIBRARIES, NWDISCO, QUIET_HOSTS, Row
from .shim import parts as shim

VENVS = Path.home() / ".cache" / "nwdisco-benchmarks"
OTHERS = "others"
TAKES_LONG_S = 10.0
RUNS_WHEN_LONG = 2

NOTES = """\
## Notes

- The floor is bare blocking sockets: one multicast hop and one round trip on a Unix socket (rows 1, 1b), a closed connection
  noticed and one hop (row 2), one hop (row 4), a Python that prints a line (row 5), a round trip (row 6), a Python with the
  benchmark's own agent and no library (8, 8b; it is contained in the others' figures).
- NetworkZero, zeroconf, pyre and zenoh run inside the program. nwdisco's beacon is a process of its own, started by the
  first call; row 5 contains that start.
- zeroconf probes for a name's uniqueness before it announces, one registration after the other: rows 1 and 4. Its records
  live for up to 75 minutes after a crash: rows 2 and 3.
- NetworkZero sends one advert at a time, each 2 s after its last: a further one waits for its turn (row 1b).
- pyre's services are headers of a node, set before it starts: in row 1 A starts a node, in row 4 one node with 50 headers.
- zenoh's services are liveliness tokens over its TCP connections between peers that found each other by multicast.
- A library whose first run takes over 10 s gets fewer runs.
- The shim's tables: one client, a process of its own with bare sockets and epoll, asks all servers, which take turns; the floor
  answers each read with constant bytes, as many as nwdisco's answer has; "a thread a client" reads one byte at a time. Server and
  client are on one machine: "busy" is each one's share of a core. Stints in which other processes used over 15 % of a core are
  measured again. The beacon is on the loopback interface and on a LAN of its own.
"""


def main() -> int:
    options = _options()
    if options.install:
        _install(options.venvs)
        return 0
    if sys.platform != "linux" or os.geteuid() != 0:
        print("The benchmarks make network namespaces: run them as root on Linux.", file=sys.stderr)
        return 2
    own, others = (_python(options.venvs, name) for name in (NWDISCO, OTHERS))
    chosen = [row for row in rows.ROWS if _chosen(row.key, options) and not (options.quick and row.slow)]
    if not (own.exists() and (others.exists() or not chosen)):
        print(f"Nothing in {options.venvs}: run  python -m tests.benchmarks --install", file=sys.stderr)
        return 2
    libraries = [name for name in LIBRARIES if name in (options.only or LIBRARIES)]
    pythons = dict.fromkeys(LIBRARIES, str(others)) | dict.fromkeys((NWDISCO, FLOOR, growth.CROWD, "none"), str(own))
    runs = 3 if options.quick else options.runs
    parts = [*([] if options.quick else growth.PARTS), *shim.parts(runs, options.quick)]
    parts.extend(messages.parts(runs, options.quick))
    parts = [part for part in parts if _chosen(part.key, options) and NWDISCO in libraries]
    # kill and the end of a terminal clear away as Ctrl-C does.
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: sys.exit(1))
    with Network(QUIET_HOSTS) as network:
        lab = Lab(network, pythons)
        failures: list[str] = []
        results = _compare(lab, chosen, [FLOOR, *libraries], runs, failures)
        tables = [report.comparison(results, chosen, [FLOOR, *libraries]), report.spread(results, chosen)]
        for part in parts:
            _say(part.title)
            try:
                tables.append((part.title, part.measure(lab)))
            except BenchmarkError as error:
                failures.append(f"{part.key}: {error}")
                _say(f"FAILED: {error}")
            lab.clear()
    about = report.machine(str(others) if chosen else None)
    tables = [table for table in tables if len(table[1]) > 1]
    if failures:
        tables.append(("Measurements that failed, left out above", [["what"], *([failure] for failure in failures)]))
    print("\n\n".join(["", about, *(report.text(table) for table in tables)]))
    if options.write:
        (ROOT / "docs" / "benchmarks.md").write_text(report.document(tables, chosen, about, NOTES))
    return 0


def _compare(
    lab: Lab, chosen: Sequence[Row], libraries: Sequence[str], runs: int, failures: list[str]
) -> report.Results:
    """All rows; within a row, the libraries take turns, so that a busy moment of the machine hits them all."""
    results: report.Results = {}
    for row in chosen:
        for run in range(min(runs, row.most_runs)):
            for library in libraries:
                values = results.setdefault((row.key, library), [])
                takes_long = row.unit == "s" and any(value > TAKES_LONG_S for value in values)
                if library not in row.libraries or (takes_long and run >= RUNS_WHEN_LONG):
                    continue
                try:
                    measured = row.measure(lab, library)
                except BenchmarkError as error:
                    failures.append(f"{row.key}, {library}: {str(error).splitlines()[0]}")
                    _say(f"row {row.key}, run {run + 1}, {library}: FAILED: {error}")
                    continue
                finally:
                    lab.clear()
                values.extend(measured)
                _say(f"row {row.key}, run {run + 1}, {library}: {', '.join(report.cell([v], row) for v in measured)}")
    return results


def _options() -> argparse.Namespace:
    all_parts = (*growth.PARTS, *shim.parts(1, True), *messages.parts(1, True))
    keys = ",".join([row.key for row in rows.ROWS] + [part.key for part in all_parts])
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__)
    parser.add_argument("--install", action="store_true", help="install the other libraries (peers.txt), and end")
    parser.add_argument("--venvs", type=Path, default=VENVS, help=f"their virtual environments (default: {VENVS})")
    parser.add_argument("--runs", type=int, default=5, help="runs of each row (default: 5)")
    parser.add_argument("--quick", action="store_true", help="three runs, without the slow rows and the growth")
    parser.add_argument("--only", type=_list, help=f"libraries, with commas, of {','.join(LIBRARIES)}")
    parser.add_argument("--rows", type=_list, help=f"rows, with commas, of {keys}")
    parser.add_argument("--write", action="store_true", help="copy the tables to docs/benchmarks.md")
    return parser.parse_args()


def _list(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


def _chosen(key: str, options: argparse.Namespace) -> bool:
    return not options.rows or key in options.rows


def _install(directory: Path) -> None:
    """One environment with what nwdisco depends on (itself it is imported from here), one with the other libraries.

    Not the environment of the developer: an editable install alone makes every Python there start 30 ms later.
    """
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    others = ["-r", str(Path(__file__).with_name("peers.txt"))]
    for name, wanted in ((NWDISCO, project["dependencies"]), (OTHERS, others)):
        venv.create(directory / name, with_pip=True)
        subprocess.run([_python(directory, name), "-m", "pip", "install", *wanted], check=True)


def _python(directory: Path, name: str) -> Path:
    return directory / name / "bin" / "python"


def _say(text: str) -> None:
    print(text, flush=True)


if __name__ == "__main__":
    sys.exit(main())
