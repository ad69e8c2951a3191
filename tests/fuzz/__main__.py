"""`python -m tests.fuzz`: a process for each target, one after the other; every crash as it is found, then a table in Markdown.

Ends with 1 where something crashed.
"""

from __future__ import annotations

import argparse
import importlib.util
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import NamedTuple

from .hunt import STUCK_S, Crash, saved
from .ledger import Ledger
from .targets import BY_NAME, TARGETS, Target

ROOT = Path(__file__).parent.parent.parent
LOOK_S = 0.2
LAST_WORDS = 3000
"""Of what a worker said before it died, so many characters are told."""
ENGINES = ("atheris", "random")


class Result(NamedTuple):
    target: str
    engine: str
    inputs: int
    seconds: float
    crashes: list[Crash]


def main(arguments: Sequence[str] | None = None) -> int:
    options = _options(arguments)
    engine = options.engine or ("atheris" if importlib.util.find_spec("atheris") else "random")
    chosen = [BY_NAME[name] for name in options.target] or list(TARGETS)
    results = []
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # `kill` takes the worker along, as Ctrl-C does
    for target in chosen:
        result = hunted(target, engine, options.inputs, options.seconds, options.seed)
        print(f"{result.target}: {result.inputs:,} inputs in {result.seconds:.0f} s", file=sys.stderr, flush=True)
        for crash in result.crashes:
            print(f"\n{crash.target}: {crash.data!r}\n{crash.text}", file=sys.stderr, flush=True)
        results.append(result)
        if options.save is not None:
            options.save.mkdir(parents=True, exist_ok=True)
            for number, crash in enumerate(result.crashes):
                (options.save / f"{crash.target}-{number}").write_bytes(crash.data)
    print(f"{date.today()}, Python {sys.version.split()[0]}\n")
    print(table(results))
    return 1 if any(result.crashes for result in results) else 0


def table(results: Sequence[Result]) -> str:
    lines = ["| Target | Engine | Inputs | Seconds | Crashes |", "|---|---|---:|---:|---:|"]
    lines += [f"| {r.target} | {r.engine} | {r.inputs:,} | {r.seconds:.0f} | {len(r.crashes)} |" for r in results]
    inputs, seconds = sum(r.inputs for r in results), sum(r.seconds for r in results)
    crashes = sum(len(r.crashes) for r in results)
    return "\n".join([*lines, f"| all | | {inputs:,} | {seconds:.0f} | {crashes} |"])


def hunted(target: Target, engine: str, inputs: int, seconds: float | None, seed: int) -> Result:
    """What a worker found."""
    with tempfile.TemporaryDirectory(prefix="nwd-fuzz-") as folder:
        place = Path(folder)
        ledger = Ledger(place / "ledger")
        begun = time.monotonic()
        options = [target.name, engine, folder, str(inputs), str(seconds or 0), str(seed)]
        command = [sys.executable, "-m", "tests.fuzz.worker", *options]
        with (place / "log").open("wb") as log, subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=log) as worker:
            try:
                end = _awaited(worker, ledger)
            finally:
                worker.kill()
        spent_s = time.monotonic() - begun
        count, last = ledger.read()
        ledger.close()
        crashes = saved(place)
        if end is not None:
            said = (place / "log").read_text(errors="replace")[-LAST_WORDS:]
            crashes.append(Crash(target.name, last, f"{end}. It said:\n{said}"))
        return Result(target.name, engine, count, spent_s, crashes)


def _awaited(worker: subprocess.Popen[bytes], ledger: Ledger) -> str | None:
    """How the worker ended, where that is a fault of its own."""
    at, since = 0, time.monotonic()
    while worker.poll() is None:
        time.sleep(LOOK_S)
        count, _ = ledger.read()
        if count != at:
            at, since = count, time.monotonic()
        elif time.monotonic() - since > STUCK_S:
            return f"hangs: no end after {STUCK_S} s"
    if worker.returncode:
        return f"the process ended with {worker.returncode}"
    return None


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description="Fuzz nwdisco's decoders.")
    parser.add_argument("--inputs", type=int, default=100_000, help="for each target (%(default)s)")
    parser.add_argument("--seconds", type=float, help="for each target, at most")
    parser.add_argument("--target", action="append", choices=list(BY_NAME), default=[], help="once or more; else all")
    parser.add_argument("--engine", choices=ENGINES, help="atheris, where it is installed; else random")
    parser.add_argument("--seed", type=int, default=1, help="another one gives other inputs (%(default)s)")
    parser.add_argument("--save", type=Path, metavar="FOLDER", help="where to write the inputs that crash")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
