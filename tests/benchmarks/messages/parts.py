"""The messenger's tables: a message's round trip, and news to ten subscribers, beside NetworkZero and bare pyzmq."""

from __future__ import annotations

import json
import os
import select
import subprocess
import time
from contextlib import ExitStack
from functools import partial
from statistics import median
from typing import Any, Final

from ..growth import Part
from ..lab import CALL_LIMIT_S, ROOT, START_LIMIT_S, BenchmarkError, Lab, environment
from ..report import number
from .ways import BARE, NETWORKZERO, NWDISCO, UNLIMITED

HOST = 1
PORTS: Final = {NWDISCO: 26401, NETWORKZERO: 26402, BARE: 26403, UNLIMITED: 26404}
TITLES: Final = {
    NWDISCO: "nwdisco",
    NETWORKZERO: "NetworkZero",
    BARE: "bare pyzmq",
    UNLIMITED: "bare pyzmq, queues without a limit",
}
STINT_S, FIRST_STINT_S = 0.1, 0.5
STINTS, QUICK_STINTS = 200, 60
"""Of each way, in turn: many short ones, so that a busy moment of the machine hits all of them."""
SUBSCRIBERS, NEWS = 10, 20_000
NEWS_LIMIT_S = 120.0
GOALS: Final = {NWDISCO: "1.3 × bare pyzmq, before NetworkZero"}

Fields = dict[str, Any]
"""What a program says in one line."""


class Program:
    """One of program.py's on the host, ended on leaving the block."""

    def __init__(self, lab: Lab, way: str, *arguments: str) -> None:
        self._name = f"{TITLES[way]}: {' '.join(arguments)}"
        self._lab = lab
        self._text = b""
        argv = (_python(lab, way), "-m", "tests.benchmarks.messages.program", way, *arguments)
        with lab.network.log(HOST).open("ab") as log:
            self._process = subprocess.Popen(
                lab.network.command(HOST, argv),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                cwd=ROOT,
                env=environment(lab.network, HOST),
            )

    def __enter__(self) -> Program:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.communicate()

    def tell(self, line: object) -> None:
        assert self._process.stdin is not None
        os.write(self._process.stdin.fileno(), f"{line}\n".encode())

    def said(self, limit_s: float = START_LIMIT_S) -> Fields:
        """The next line that it says."""
        assert self._process.stdout is not None
        until = time.monotonic() + limit_s
        while b"\n" not in self._text:
            readable, _, _ = select.select([self._process.stdout], [], [], max(0.0, until - time.monotonic()))
            data = os.read(self._process.stdout.fileno(), 65_536) if readable else b""
            if not data:
                what = "has ended" if readable else f"says nothing for {limit_s:.0f} s"
                complaints = self._lab.network.log(HOST).read_text(errors="replace")[-2000:]
                raise BenchmarkError(f"{self._name}: {what}\n{complaints}")
            self._text += data
        line, _, self._text = self._text.partition(b"\n")
        fields: Fields = json.loads(line)
        return fields


def messages(lab: Lab, stints: int) -> list[list[str]]:
    """One program asks another, one question after the other; the ways take turns."""
    ways = (NWDISCO, BARE, NETWORKZERO)
    measured: dict[str, list[Fields]] = {way: [] for way in ways}
    with ExitStack() as stack:
        asking = {}
        for way in ways:
            listener = stack.enter_context(Program(lab, way, "listen", lab.network.address(HOST), str(PORTS[way])))
            asking[way] = stack.enter_context(Program(lab, way, "ask", listener.said()["address"]))
            asking[way].said()
            _stint(asking[way], FIRST_STINT_S)
        for turn in range(stints):
            for way in reversed(ways) if turn % 2 else ways:
                measured[way].append(_stint(asking[way], STINT_S))
    heading = ["pyzmq", "p50", "lowest p50", "p99", "messages/s", "lowest", "highest", "client's CPU a message"]
    against = [f"{what}, of bare pyzmq's" for what in ("p50", "p99")]
    lines = [["", *heading, *against, "p50, of NetworkZero's", "goal"]]
    for way in ways:
        rates = [stint["rate"] for stint in measured[way]]
        lines.append(
            [
                TITLES[way],
                _pyzmq(lab, way),
                number(median(stint["p50_s"] for stint in measured[way]), "s"),
                number(min(stint["p50_s"] for stint in measured[way]), "s"),
                number(median(stint["p99_s"] for stint in measured[way]), "s"),
                *(f"{rate:,.0f}" for rate in (median(rates), min(rates), max(rates))),
                f"{median(stint['cpu_s'] for stint in measured[way]) * 1e6:.0f} µs",
                *("" if way == BARE else _ratio(measured, way, BARE, key) for key in ("p50_s", "p99_s")),
                "" if way == NETWORKZERO else _ratio(measured, way, NETWORKZERO, "p50_s"),
                GOALS.get(way, ""),
            ]
        )
    return lines


def news(lab: Lab, passes: int) -> list[list[str]]:
    """One program publishes as fast as it can, ten others hear it; the ways take turns."""
    ways = (NWDISCO, UNLIMITED, BARE, NETWORKZERO)
    measured: dict[str, list[Fields]] = {way: [] for way in ways}
    for turn in range(passes):
        for way in reversed(ways) if turn % 2 else ways:
            measured[way].append(told := _news(lab, way))
            lost = ", ".join(f"{one:,}" for one in told["lost"])
            print(f"news, pass {turn + 1}, {TITLES[way]}: {told['rate']:,.0f} a second; lost: {lost}", flush=True)
    heading = ["pyzmq", "news/s", "lowest", "highest", "of the limitless", "publisher done after"]
    lines = [["", *heading, f"lost, of {NEWS:,} at each", "goal"]]
    for way in ways:
        rates = [told["rate"] for told in measured[way]]
        lost_at = [lost for told in measured[way] for lost in told["lost"]]
        some = f"{min(lost_at):,} to {max(lost_at):,}"
        lines.append(
            [
                TITLES[way],
                _pyzmq(lab, way),
                *(f"{rate:,.0f}" for rate in (median(rates), min(rates), max(rates))),
                "" if way == UNLIMITED or any(lost_at) else _ratio(measured, way, UNLIMITED, "rate"),
                number(median(told["published_s"] for told in measured[way]), "s"),
                some if any(lost_at) else "0",
                "0 lost" if way == NWDISCO else "",
            ]
        )
    return lines


def parts(runs: int, quick: bool) -> tuple[Part, ...]:
    return (
        Part(
            "messages",
            "Messages: one program asks another, 51 bytes and back",
            partial(messages, stints=QUICK_STINTS if quick else STINTS),
        ),
        Part(
            "news",
            f"News: {NEWS:,} of about 50 bytes to {SUBSCRIBERS} subscribers",
            partial(news, passes=runs),
        ),
    )


def _python(lab: Lab, way: str) -> str:
    """Bare pyzmq runs where nwdisco does."""
    return lab.python(NETWORKZERO if way == NETWORKZERO else NWDISCO)


def _pyzmq(lab: Lab, way: str) -> str:
    """The versions of pyzmq and of the library under it."""
    script = "import zmq; print(zmq.__version__, zmq.zmq_version(), sep=' on ')"
    done = subprocess.run([_python(lab, way), "-c", script], capture_output=True, text=True, timeout=30, check=True)
    return done.stdout.strip()


def _stint(asking: Program, seconds: float) -> Fields:
    asking.tell(seconds)
    return asking.said(seconds + CALL_LIMIT_S)


def _news(lab: Lab, way: str) -> Fields:
    """News a second until the last subscriber has all that it will have, and what each has lost."""
    with ExitStack() as stack:
        arguments = (lab.network.address(HOST), str(PORTS[way]), str(NEWS))
        publisher = stack.enter_context(Program(lab, way, "publish", *arguments))
        address = publisher.said()["address"]
        subscribers = [
            stack.enter_context(Program(lab, way, "subscribe", address, str(NEWS))) for _ in range(SUBSCRIBERS)
        ]
        for subscriber in subscribers:
            subscriber.said()
        publisher.tell("go")
        published = publisher.said(NEWS_LIMIT_S)
        heard = [subscriber.said(NEWS_LIMIT_S) for subscriber in subscribers]
    if not all(one["in_order"] for one in heard):
        raise BenchmarkError(f"{TITLES[way]}: news arrived out of order")
    took_s = max(one["ended_at"] for one in heard) - published["began_at"]
    return {
        "rate": min(one["heard"] for one in heard) / took_s,
        "published_s": published["done_at"] - published["began_at"],
        "lost": [NEWS - one["heard"] for one in heard],
    }


def _ratio(measured: dict[str, list[Fields]], way: str, other: str, key: str) -> str:
    """Of the stints of one turn: the median, and between which the middle half lies."""
    pairs = zip(measured[way], measured[other], strict=True)
    ratios = sorted(one[key] / against[key] for one, against in pairs)
    quarter = len(ratios) // 4
    return f"{median(ratios):.2f} × ({ratios[quarter]:.2f} to {ratios[-1 - quarter]:.2f})"
