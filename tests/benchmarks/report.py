"""Results as tables of text that are Markdown as well, and docs/benchmarks.md around them."""

from __future__ import annotations

import datetime
import math
import os
import platform
import subprocess
from collections.abc import Sequence
from pathlib import Path
from statistics import median

from .lab import ROOT
from .rows import COLUMNS, NWDISCO, Row

Results = dict[tuple[str, str], list[float]]
"""The measurements of a row's key and a library."""
Table = tuple[str, list[list[str]]]
"""A title, and lines of cells, the header first."""

SCALE = ((1.0, 1.0, "s"), (1e-5, 1e-3, "ms"), (0.0, 1e-6, "µs"))
"""From how many seconds on, the unit and its name. So 0.05 ms is not 50 µs: the design's table speaks of ms."""
HEADINGS = {"networkzero": "NetworkZero"}
DISTRIBUTIONS = ("networkzero", "zeroconf", "zeromq-pyre", "eclipse-zenoh")

INTRODUCTION = """\
# Benchmarks

nwdisco beside NetworkZero, python-zeroconf, pyre and zenoh. Every host is a network namespace of one machine, on a bridge
in a namespace of its own; each figure is the median of several runs, and the libraries take turns in each run. Compare
figures of one table, not of different machines.

Run it (Linux, root):

    python -m tests.benchmarks --install    # once: the other libraries, into a virtual environments of their own
    python -m tests.benchmarks --write      # about an hour; --quick: a few minutes; --help: the choices
"""


def number(value: float, unit: str) -> str:
    """A figure for people: three digits at most."""
    if math.isnan(value):
        return "–"
    if unit == "s":
        value, unit = next(((value / size, name) for least, size, name in SCALE if abs(value) >= least))
    digits = max(0, 2 - math.floor(math.log10(abs(value)))) if value else 0
    return f"{value:,.{min(digits, 3)}f} {unit}"


def cell(values: Sequence[float], row: Row) -> str:
    if not values:
        return ""
    middle = median(values)
    return f"> {row.cap_s:.0f} s" if math.isinf(middle) else number(middle, row.unit)


def comparison(results: Results, rows: Sequence[Row], libraries: Sequence[str]) -> Table:
    columns = [library for library in COLUMNS if library in libraries]
    lines = [["", *(HEADINGS.get(library, library) for library in columns), "goal"]]
    for row in rows:
        values = [cell(results.get((row.key, library), []), row) for library in columns]
        lines.append([f"{row.key}. {row.title}", *values, row.goal])
    return "The libraries side by side", lines


def spread(results: Results, rows: Sequence[Row]) -> Table:
    """How far nwdisco's single measurements lie apart."""
    lines = [["", "lowest", "median", "highest", "measurements"]]
    for row in rows:
        values = results.get((row.key, NWDISCO), [])
        if values:
            three = (min(values), median(values), max(values))
            lines.append([row.key, *(cell([value], row) for value in three), str(len(values))])
    return "nwdisco's single measurements", lines


def text(table: Table) -> str:
    title, lines = table
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    rule = ["-" * width if not place else "-" * (width - 1) + ":" for place, width in enumerate(widths)]
    return "\n".join([f"## {title}", "", *(_aligned(line, widths) for line in (lines[0], rule, *lines[1:]))])


def _aligned(line: Sequence[str], widths: Sequence[int]) -> str:
    cells = [
        c.rjust(width) if place else c.ljust(width) for place, (c, width) in enumerate(zip(line, widths, strict=True))
    ]
    return f"| {' | '.join(cells)} |"


def machine(peers_python: str | None) -> str:
    """What it was measured on, and with which versions; of the other libraries too if their Python is given."""
    processor = next(
        (
            line.partition(":")[2].strip()
            for line in _read("/proc/cpuinfo").splitlines()
            if line.startswith("model name")
        ),
        platform.machine(),
    )
    memory_gb = int(_read("/proc/meminfo").split()[1]) / 1e6
    lines = [
        f"{datetime.date.today().isoformat()}; {os.cpu_count()} cores ({processor}), {memory_gb:.0f} GB;"
        f" Linux {platform.release()}; Python {platform.python_version()};",
    ]
    script = (
        f"from importlib.metadata import version as v; print(', '.join(f'{{d}} {{v(d)}}' for d in {DISTRIBUTIONS}))"
    )
    versions = []
    if peers_python is not None:
        done = subprocess.run([peers_python, "-c", script], capture_output=True, text=True, timeout=30, check=True)
        versions.append(done.stdout.strip())
    commit = subprocess.run(
        ["git", "describe", "--always", "--dirty"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    if commit.returncode == 0:
        versions.append(f"nwdisco at {commit.stdout.strip()}")
    lines.append(", ".join(versions))
    return " ".join(lines) + "."


def document(tables: Sequence[Table], rows: Sequence[Row], about: str, notes: str) -> str:
    explained = "\n".join(f"- **{row.key}**: {_first_line(row)}" for row in rows)
    parts = [INTRODUCTION.strip(), f"Measured: {about}", *(text(table) for table in tables)]
    return "\n\n".join([*parts, "## What each row measures", explained, notes]) + "\n"


def _first_line(row: Row) -> str:
    return (row.measure.__doc__ or row.title).strip().splitlines()[0]


def _read(path: str) -> str:
    return Path(path).read_text()
