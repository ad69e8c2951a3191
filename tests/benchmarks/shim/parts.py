"""The shim's tables: requests a second beside a floor and the article's design, and 10,000 services that heartbeat."""

from __future__ import annotations

import json
import select
import subprocess
import time
from collections.abc import Sequence
from contextlib import ExitStack
from functools import partial
from statistics import median
from typing import Any, Final

from ..growth import Part
from ..lab import CALL_LIMIT_S, ROOT, START_LIMIT_S, BenchmarkError, Lab, environment
from ..report import number
from ..rows import NWDISCO
from .client import HEARTBEAT, QUERY
from .dialects import FRAMED, LINES
from .heartbeats import EVERY_S

HOST = 1
FLOOR, ARTICLE = "asyncio, a constant", "a thread a client"
STINT_S, QUICK_STINT_S, FIRST_STINT_S = 1.0, 0.4, 0.1
PASSES_A_RUN: Final = 2
"""There and back: who came first comes last the next time."""
ATTEMPTS, DISTURBED_LOAD = 5, 0.15
"""How often a stint is measured that others disturb, and what they may use of a core before they do."""
SERVICES, ROUNDS, QUICK_ROUNDS = 10_000, 4, 1
GOALS: Final = {LINES: "70 % of the floor, 10 ×", FRAMED: "90 % of the floor, 10 ×"}

Stint = dict[str, Any]
"""What client.py prints."""


class Server:
    """A server on the host, ended on leaving the block."""

    def __init__(self, lab: Lab, name: str, *module: str) -> None:
        self.name = name
        self.address = ""
        self._lab = lab
        with lab.network.log(HOST).open("ab") as log:
            self._process = subprocess.Popen(
                _command(lab, *module),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
                cwd=ROOT,
                env=environment(lab.network, HOST),
            )

    def __enter__(self) -> Server:
        try:
            self.address = self._shim_address() if self.name == NWDISCO else self._said()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.communicate()

    @property
    def pid(self) -> int:
        return self._process.pid

    def _said(self) -> str:
        assert self._process.stdout is not None
        readable, _, _ = select.select([self._process.stdout], [], [], START_LIMIT_S)
        address = self._process.stdout.readline().decode().strip() if readable else ""
        if not address:
            raise BenchmarkError(f"{self.name} does not start\n{_complaints(self._lab)}")
        return address

    def _shim_address(self) -> str:
        until = time.monotonic() + START_LIMIT_S
        while self._process.poll() is None and time.monotonic() < until:
            done = _run(self._lab, START_LIMIT_S, "nwdisco", "status", "--json")
            if done.returncode == 0:
                shim: dict[str, Any] = json.loads(done.stdout).get("shim", {})
                if not shim.get("address"):
                    raise BenchmarkError(f"the beacon has no shim: {shim.get('why_not')}")
                return str(shim["address"])
            time.sleep(0.05)
        raise BenchmarkError(f"the beacon does not start\n{_complaints(self._lab)}")


def beacon(lab: Lab) -> Server:
    return Server(lab, NWDISCO, "nwdisco", "beacon", "--shim", "127.0.0.1:0")


def rates(lab: Lab, dialect: str, passes: int, stint_s: float) -> list[list[str]]:
    """50 requests under way at all times, by one client; the servers take turns."""
    stints: dict[tuple[str, str], list[Stint]] = {}
    with ExitStack() as stack:
        nwdisco = stack.enter_context(beacon(lab))
        article = stack.enter_context(Server(lab, ARTICLE, "tests.benchmarks.shim.servers", "article", dialect))
        servers = {}
        for wanted in (QUERY, HEARTBEAT):
            answer = _stint(lab, nwdisco, dialect, wanted, FIRST_STINT_S)["answer"]  # the floor's is as long
            floor = Server(lab, FLOOR, "tests.benchmarks.shim.servers", "floor", dialect, answer)
            servers[wanted] = [stack.enter_context(floor), nwdisco, article]
        for turn in range(passes):
            for wanted, order in servers.items():
                for server in reversed(order) if turn % 2 else order:
                    measured = _stint(lab, server, dialect, wanted, stint_s)
                    stints.setdefault((wanted, server.name), []).append(measured)
                    print(f"{dialect} {wanted}, pass {turn + 1}, {server.name}: {_said(measured)}", flush=True)
    heading = ["requests/s", "lowest", "highest", "of the floor", "of a thread a client", "median", "p99"]
    lines = [["", *heading, "server's CPU a request", "client's", "server busy", "client busy", "goal"]]
    for (wanted, name), measured_all in stints.items():
        against = [stints[wanted, other] for other in (FLOOR, ARTICLE)]
        goal = GOALS[dialect] if name == NWDISCO else ""
        lines.append([f"{wanted}: {name}", *_cells(measured_all, *against), goal])
    return lines


def heartbeats(lab: Lab, rounds: int) -> list[list[str]]:
    """10,000 services registered, each heartbeating every 5 s; meanwhile a type of ten services is asked for."""
    lasts_s = (1 + 2 * rounds) * EVERY_S
    with beacon(lab) as server:
        arguments = ("load", server.address, str(server.pid), str(SERVICES), str(rounds))
        done = _run(lab, lasts_s + CALL_LIMIT_S, "tests.benchmarks.shim.heartbeats", *arguments)
    fields = _decoded(lab, done)
    queries = [f"{dialect} query, {what}" for dialect in (FRAMED, LINES) for what in ("median", "p99")]
    heading = ["beacon's CPU", "beacon's memory", "not OK", "heartbeat, median", "p99", *queries, "queries not of ten"]
    lines = [["heartbeats", *heading]]
    for dialect, title in ((FRAMED, "a framed connection each"), (LINES, "lines on 20 connections")):
        measured = fields[dialect]
        asked = measured["asked"]
        late, own = number(measured["late_s"], "s"), f"{measured['own_cpu'] * 100:.0f} %"
        print(f"{title}: up to {late} behind the timetable, client's CPU {own}; not OK: {measured['said']}", flush=True)
        times = [measured, asked[FRAMED], asked[LINES]]
        lines.append(
            [
                title,
                f"{measured['cpu'] * 100:.1f} %",
                number(measured["memory_mb"], "MB"),
                f"{measured['not_ok']:,} of {measured['heartbeats']:,}",
                *(number(of[share], "s") for of in times for share in ("p50_s", "p99_s")),
                f"{asked['wrong']:,} of {asked['asked']:,}",
            ]
        )
    lines.append(["(before the first)", "", number(fields["empty_mb"], "MB"), *[""] * (len(heading) - 2)])
    return lines


def parts(runs: int, quick: bool) -> tuple[Part, ...]:
    passes = runs if quick else runs * PASSES_A_RUN
    stint_s = QUICK_STINT_S if quick else STINT_S
    return (
        *(
            Part(
                f"shim-{dialect}",
                f"The shim, {dialect}: 50 {what}",
                partial(rates, dialect=dialect, passes=passes, stint_s=stint_s),
            )
            for dialect, what in ((LINES, "standing connections"), (FRAMED, "at a time, a connection a request"))
        ),
        Part(
            "shim-heartbeats",
            f"The shim: {SERVICES:,} services that heartbeat every {EVERY_S:.0f} s",
            partial(heartbeats, rounds=QUICK_ROUNDS if quick else ROUNDS),
        ),
    )


def _stint(lab: Lab, server: Server, dialect: str, wanted: str, seconds: float) -> Stint:
    """The first stint that has the machine to itself; after a few attempts, the one that was disturbed least.

    Server and client take a core each: a third process distorts the figures, and makes threads that share one core
    several times as fast, because they no longer fight for Python's lock.
    """
    stints: list[Stint] = []
    for _ in range(ATTEMPTS):
        stints.append(_attempt(lab, server, dialect, wanted, seconds))
        if stints[-1]["others_load"] <= DISTURBED_LOAD:
            break
        time.sleep(1)
    return min(stints, key=lambda stint: float(stint["others_load"]))


def _attempt(lab: Lab, server: Server, dialect: str, wanted: str, seconds: float) -> Stint:
    options = [f"--seconds={seconds}", f"--pid={server.pid}", *(["--constant"] if server.name == FLOOR else [])]
    module = "tests.benchmarks.shim.client"
    fields = _decoded(lab, _run(lab, seconds + CALL_LIMIT_S, module, server.address, dialect, wanted, *options))
    if fields["wrong"]:
        raise BenchmarkError(f"{server.name}: {fields['wrong']} of {fields['requests']} answers are not as the first")
    return fields


def _cells(stints: Sequence[Stint], floor: Sequence[Stint], article: Sequence[Stint]) -> list[str]:
    """Medians; the shares are of the stints of one pass."""
    rates = [stint["rate"] for stint in stints]
    of_floor, of_article = (
        [stint["rate"] / of["rate"] for stint, of in zip(stints, others, strict=True)] for others in (floor, article)
    )
    middle = {key: median(stint[key] for stint in stints) for key in stints[0] if key != "answer"}
    return [
        *(f"{rate:,.0f}" for rate in (median(rates), min(rates), max(rates))),
        ""
        if stints is floor
        else f"{median(of_floor) * 100:.0f} % ({min(of_floor) * 100:.0f} to {max(of_floor) * 100:.0f})",
        "" if stints is article else f"{median(of_article):.1f} ×",
        *(number(middle[key], "s") for key in ("p50_s", "p99_s")),
        *(f"{middle[key] * 1e6:.1f} µs" for key in ("server_s", "client_s")),
        *(f"{middle[key] * 100:.0f} %" for key in ("server_load", "client_load")),
    ]


def _said(stint: Stint) -> str:
    latencies = f"median {number(stint['p50_s'], 's')}, p99 {number(stint['p99_s'], 's')}"
    others = stint["others_load"]
    disturbed = f" (disturbed: others used {others * 100:.0f} % of a core)" if others > DISTURBED_LOAD else ""
    return f"{stint['rate']:,.0f} a second, {latencies}, CPU {stint['server_s'] * 1e6:.1f} µs a request{disturbed}"


def _command(lab: Lab, *module: str) -> list[str]:
    return lab.network.command(HOST, [lab.python(NWDISCO), "-m", *module])


def _run(lab: Lab, limit_s: float, *module: str) -> subprocess.CompletedProcess[str]:
    """Have a module run on the host, and wait for its end; it does not outlive the wait."""
    try:
        return subprocess.run(
            _command(lab, *module),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=limit_s,
            check=False,
            cwd=ROOT,
            env=environment(lab.network, HOST),
        )
    except subprocess.TimeoutExpired:
        raise BenchmarkError(f"{' '.join(module)}: not done in {limit_s:.0f} s\n{_complaints(lab)}") from None


def _decoded(lab: Lab, done: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    if done.returncode:
        raise BenchmarkError(f"{done.stderr.strip()[-2000:]}\n{_complaints(lab)}")
    fields: dict[str, Any] = json.loads(done.stdout)
    return fields


def _complaints(lab: Lab) -> str:
    log = lab.network.log(HOST)
    return log.read_text(errors="replace")[-2000:] if log.exists() else ""
