"""The rows of the table of numbers (docs/benchmarks.md): what each measures, with which libraries, and how."""

from __future__ import annotations

import math
import random
import time
from collections.abc import Callable
from statistics import median
from typing import Final, NamedTuple

from .lab import Agent, BenchmarkError, Lab, memory_mb

FLOOR, NWDISCO = "floor", "nwdisco"
LIBRARIES: Final = ("networkzero", "zeroconf", "pyre", "zenoh", NWDISCO)
COLUMNS: Final = (FLOOR, *LIBRARIES)
MANY = 50
PAIRS = 3
QUIET_HOSTS, QUIET_SERVICES, QUIET_S, SETTLE_S = 10, 5, 30.0, 10.0
IMPORTS = 9
MODULES: Final = {
    "zeroconf": "zeroconf",
    "networkzero": "networkzero",
    "pyre": "pyre",
    "zenoh": "zenoh",
    NWDISCO: NWDISCO,
}

Measure = Callable[[Lab, str], list[float]]


class Row(NamedTuple):
    key: str
    title: str
    unit: str
    """s (shown as ms, s), B/s or MB."""
    goal: str
    """nwdisco's, from the design."""
    libraries: tuple[str, ...]
    measure: Measure
    slow: bool = False
    """--quick leaves it out."""
    cap_s: float = math.inf
    """Longer is not waited for."""
    most_runs: int = 99


def _wait(agent: Agent, cap_s: float, since: float) -> float:
    """When what an agent waits for has come; infinite when it never did."""
    answer = agent.end(cap_s + 10)
    return answer.ended_at - since if answer.result else math.inf


def arrival(lab: Lab, library: str) -> list[float]:
    """B waits in discover; from A's call of advertise, its program's first, until B's call returns."""
    times = []
    for _ in range(PAIRS):
        a, b = lab.pair(library)
        b.begin_waiting("find", "service", 20)
        called = a.ask("advertise", "service")
        took_s = _wait(b, 20, called.began_at)
        times.append(took_s + b.ask("look_up", "any").result if library == FLOOR else took_s)
        lab.clear()
    return times


def again(lab: Lab, library: str) -> list[float]:
    """The same for the further adverts of A's program."""
    a, b = lab.pair(library)
    a.ask("advertise", "first")
    times = []
    for number in range(PAIRS):
        b.begin_waiting("find", f"service-{number}", 20)
        called = a.ask("advertise", f"service-{number}")
        took_s = _wait(b, 20, called.began_at)
        times.append(took_s + b.ask("look_up", "any").result if library == FLOOR else took_s)
    return times


def killed(lab: Lab, library: str) -> list[float]:
    """A's program dies by SIGKILL; until B no longer lists its service."""
    a, b = _with_victim(lab, library)
    b.begin_waiting("wait_gone", "victim", KILLED_CAP_S)
    return [_wait(b, KILLED_CAP_S, a.kill())]


def pulled(lab: Lab, library: str) -> list[float]:
    """A's port on the switch goes down; until B no longer lists its service."""
    _, b = _with_victim(lab, library)
    b.begin_waiting("wait_gone", "victim", PULLED_CAP_S)
    at = time.monotonic()
    lab.network.pull(1)
    try:
        return [_wait(b, PULLED_CAP_S, at)]
    finally:
        lab.network.plug(1)


def _with_victim(lab: Lab, library: str) -> tuple[Agent, Agent]:
    a, b = lab.pair(library)
    b.begin_waiting("find", "victim", 20)
    a.ask("advertise", "victim")
    if _wait(b, 20, 0) == math.inf:
        raise BenchmarkError(f"{b.name} does not find the victim")
    time.sleep(1)
    return a, b


def many(lab: Lab, library: str) -> list[float]:
    """A advertises 50 services, one call after the other; from the first call until B lists them all."""
    a, b = lab.pair(library)
    names = [f"many-{number}" for number in range(MANY)]
    b.begin_waiting("wait_all", names, MANY_CAP_S)
    called = a.ask("advertise_many", names, wait_s=MANY_CAP_S + 10)
    return [_wait(b, MANY_CAP_S, called.began_at)]


def cold(lab: Lab, library: str) -> list[float]:
    """Nothing of the library runs on B; from the start of a Python process to the answer that it prints."""
    if library != FLOOR:
        lab.agent(1, library).ask("advertise", "target")
    times = []
    for _ in range(3):
        time.sleep(random.uniform(1, 3))  # not in step with A's timers
        spawner = lab.spawner(2)
        times.append(spawner.ask("spawn", lab.cold(library, "target"), wait_s=40).result)
        lab.clear([2])
    return times


def known(lab: Lab, library: str) -> list[float]:
    """discover of a name that is known already; the median of many calls."""
    if library == FLOOR:
        return [lab.agent(2, FLOOR).ask("look_up", "any").result]
    a, _ = lab.pair(library)
    time.sleep(1)
    return [a.ask("look_up", "warm-up").result]


def quiet(lab: Lab, library: str) -> list[float]:
    """10 hosts, 5 services each, nothing happens: the bytes a second that a host sends, Ethernet headers included."""
    hosts = range(1, QUIET_HOSTS + 1)
    names = {host: [f"quiet-{host}-{number}" for number in range(QUIET_SERVICES)] for host in hosts}
    everything = [name for host in hosts for name in names[host]]
    agents = {host: lab.agent(host, library) for host in hosts}
    for host, agent in agents.items():
        agent.begin("advertise_many", names[host])
    for agent in agents.values():
        agent.end(60)
    for agent in agents.values():
        if not agent.ask("wait_all", everything, 60, wait_s=70).result:
            raise BenchmarkError(f"{agent.name} does not list all services")
    time.sleep(SETTLE_S)
    began_at, before = time.monotonic(), {host: lab.network.sent_bytes(host) for host in hosts}
    time.sleep(QUIET_S)
    passed_s = time.monotonic() - began_at
    return [sum(lab.network.sent_bytes(host) - before[host] for host in hosts) / len(hosts) / passed_s]


def memory(lab: Lab, library: str) -> list[float]:
    """Resident memory of the process that does the discovery on a host of two, 5 services each (nwdisco: the beacon)."""
    agent = _settled_host(lab, library)
    if library != NWDISCO:
        return [memory_mb(agent.pid)]
    (beacon,) = (pid for pid in lab.network.processes(1) if pid != agent.pid)
    return [memory_mb(beacon)]


def program_memory(lab: Lab, library: str) -> list[float]:
    """Resident memory of a program on that host that uses it (the others: the same process as above)."""
    return [memory_mb(_settled_host(lab, library).pid)]


def _settled_host(lab: Lab, library: str) -> Agent:
    if library == FLOOR:
        return lab.agent(1, "none")
    a, b = lab.pair(library)
    names = [f"memory-{number}" for number in range(QUIET_SERVICES)]
    a.begin("advertise_many", names)
    b.begin("advertise_many", [f"other-{name}" for name in names])
    a.end(60)
    b.end(60)
    b.ask("wait_all", names, 60, wait_s=70)
    return a


def importing(lab: Lab, library: str) -> list[float]:
    """`import` of the library in a new Python, over a Python that imports nothing."""
    spawner = lab.spawner(1)
    python = lab.python(library)
    bare = [python, "-c", "print(1, flush=True)"]
    loaded = [python, "-c", f"import {MODULES[library]}; print(1, flush=True)"]
    spawner.ask("spawn", loaded)
    pairs = [(spawner.ask("spawn", loaded).result, spawner.ask("spawn", bare).result) for _ in range(IMPORTS)]
    return [median(with_it for with_it, _ in pairs) - median(without for _, without in pairs)]


KILLED_CAP_S, PULLED_CAP_S, MANY_CAP_S = 35.0, 40.0, 100.0
LOOKED_UP = (FLOOR, "networkzero", "zeroconf", NWDISCO)

ROWS: Final = (
    Row("1", "B waits in discover, A advertises: until B has it", "s", "0.5 ms", COLUMNS, arrival, cap_s=20),
    Row("1b", "the same, A has advertised before", "s", "0.5 ms", COLUMNS, again, cap_s=20),
    Row("2", "A's process is killed -9: until B no longer lists it", "s", "2 ms", COLUMNS, killed, True, KILLED_CAP_S),
    Row("3", "A's cable is pulled: until B no longer lists it", "s", "5 s", LIBRARIES, pulled, True, PULLED_CAP_S),
    Row("4", "A advertises 50 services: until B lists all", "s", "4 ms", COLUMNS, many, True, MANY_CAP_S),
    Row("5", "B, nothing of the library running: from process start to discover's answer", "s", "60 ms", COLUMNS, cold),
    Row("6", "discover of a known name", "s", "0.05 ms", LOOKED_UP, known),
    Row(
        "7",
        "a quiet LAN of 10 hosts, 5 services each: what a host sends",
        "B/s",
        "70 B/s",
        LIBRARIES,
        quiet,
        True,
        most_runs=2,
    ),
    Row("8", "memory of a host's process (nwdisco: the beacon)", "MB", "20 MB", COLUMNS, memory),
    Row("8b", "memory of a program that uses it", "MB", "", COLUMNS, program_memory),
    Row("9", "`import` over a bare interpreter", "s", "10 ms", LIBRARIES, importing),
)
