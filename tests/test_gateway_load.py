"""The gateway under load, while the services behind it are killed, ended and started: no request fails.

python -m pytest tests/test_gateway_load.py -n 0 -s         # prints the figures
"""

from __future__ import annotations

import itertools
import re
import shutil
import subprocess
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from tests.cookbook.running import Running
from tests.machines import DEADLINE_S, Machine, wait_until

EXAMPLES = Path(__file__).parent.parent / "examples"
WRK = ("wrk", "-t1", "-c20", "-d8s", "--timeout", "10s")
ENOUGH = 2000
"""Requests; on a machine that is busy with other things too, wrk runs again until there were so many."""
COUNT_ANSWERS = """
local thread_of_all
function setup(thread) thread_of_all = thread end

local counts = {}
function response(status, headers, body)
    local answer = status .. " " .. body:gsub("%s+", " ")
    counts[answer] = (counts[answer] or 0) + 1
    summary = ""
    for text, count in pairs(counts) do summary = summary .. "answered " .. count .. " times: " .. text .. "\\n" end
end

function done() io.write(thread_of_all:get("summary")) end
"""
"""For wrk: which answers came how often."""


class Services:
    """hello services, each under a name that no other had."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        self._names = (f"s{number}" for number in itertools.count())
        self.running: dict[str, Running] = {}
        """In the order in which they were started."""
        self.killed: dict[str, Running] = {}
        self.ended: dict[str, Running] = {}

    def start(self) -> str:
        name = next(self._names)
        self.running[name] = Running(self._machine, EXAMPLES / "hello_service.py", name)
        self.running[name].shows(rf"hello/{name} is at .*")
        return name

    def kill_the_oldest(self) -> None:
        name = next(iter(self.running))
        self.killed[name] = self.running.pop(name)
        self.killed[name].kill()

    def end_the_oldest(self) -> None:
        name = next(iter(self.running))
        self.ended[name] = self.running.pop(name)
        self.ended[name].process.terminate()


class Load:
    """wrk at work on a gateway, and what it reported."""

    def __init__(self, machine: Machine, script: Path, url: str) -> None:
        command = [*machine.prefix, *WRK, "-s", str(script), url]
        self.process = subprocess.Popen(command, env=machine.env, stdout=subprocess.PIPE, text=True)
        machine.processes.append(self.process)
        wait_until(lambda: len(list(Path(f"/proc/{self.process.pid}/fd").iterdir())) > 20, "wrk's connections")

    @property
    def is_over(self) -> bool:
        return self.process.poll() is not None

    def report(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.read()


def requests_in(report: str) -> int:
    return int(re.findall(r"(\d+) requests in", report)[0])


@pytest.mark.skipif(shutil.which("wrk") is None, reason="needs the command wrk (Debian: wrk)")
def test_no_request_fails_while_services_are_killed_ended_and_started(
    machine: Machine, place: Path, record_property: Callable[[str, object], None]
) -> None:
    services = Services(machine)
    first = [services.start() for _ in range(3)]
    gateway = Running(machine, EXAMPLES / "gateway.py", "hello", "0")
    port = gateway.shows(r"the gateway to hello is at http://localhost:(\d+)")[1]
    url = f"http://127.0.0.1:{port}/"
    script = place / "count.lua"
    script.write_text(COUNT_ANSWERS)
    reports: list[str] = []
    changes = itertools.cycle([services.kill_the_oldest, services.end_the_oldest])

    with httpx.Client(trust_env=False, timeout=DEADLINE_S) as visitor:

        def answers(name: str) -> None:
            """Until this service is among those that the gateway leads to."""
            wait_until(lambda: visitor.get(url).text == f"hello from {name}\n", f"an answer of {name}")

        for name in first:
            answers(name)
        while sum(map(requests_in, reports)) < ENOUGH:
            load = Load(machine, script, url)
            while True:
                answers(services.start())
                if load.is_over:
                    break
                next(changes)()
            reports.append(load.report())

    answered: Counter[str] = Counter()
    for report in reports:
        print(report)
        assert "Socket errors" not in report, report
        assert "Non-2xx" not in report, report
        answered.update(
            {text: int(n) for n, text in re.findall(r"^answered (\d+) times: (.*?) *$", report, re.MULTILINE)}
        )
    figures = (
        f"{sum(map(requests_in, reports))} requests, none failed; meanwhile {len(services.killed)} of"
        f" {len(services.killed) + len(services.ended) + len(services.running)} services were killed and"
        f" {len(services.ended)} ended"
    )
    print(figures)
    record_property("figures", figures)
    assert len(services.killed) >= 2
    assert len(services.ended) >= 2
    assert {f"200 hello from {name}" for name in (*services.killed, *services.ended)} <= set(answered), answered
    assert all(text.startswith("200 hello from s") for text in answered), answered
    for service in services.ended.values():
        service.ends()
        assert service.errors() == ""
    gateway.interrupt()
    gateway.ends()
    assert gateway.errors() == ""
