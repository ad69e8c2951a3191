"""nwdisco's cost as the work grows: adverts in the directory, nodes on the LAN, services of one node."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Final, NamedTuple

from .lab import Agent, BenchmarkError, Lab, cpu_s, memory_mb
from .peers.groups import LARGE, LARGE_MEMBERS, SMALL, SMALL_MEMBERS
from .report import number
from .rows import NWDISCO

CROWD = "crowd"
ADVERTS: Final = (100, 10_000, 100_000)
ADVERTS_A_NODE: Final = 20_000
NODES: Final = (10, 100, 1000)
SERVICES: Final = (1, 10, 100, 1000)
LEARN_LIMIT_S, SETTLE_S, CPU_S, QUIET_S = 90.0, 10.0, 20.0, 30.0


class Part(NamedTuple):
    key: str
    title: str
    measure: Callable[[Lab], list[list[str]]]
    """The lines of its table, the header first."""


def adverts(lab: Lab) -> list[list[str]]:
    """Adverts of nodes on another host: finding a name, and groups of 20 and of 1,000, among ever more of them."""
    small, large = f"group of {SMALL_MEMBERS}", f"group of {LARGE_MEMBERS:,}"
    alone = [f"directory alone: {what}" for what in ("a name", small, large)]
    calls = ["discover", f"discover_group, {small}", f"discover_group, {large}"]
    lines = [["adverts", *alone, *calls, "all known after", "beacon's memory"]]
    for size in ADVERTS:
        names = _names(size)
        groups = {SMALL: SMALL_MEMBERS} | ({LARGE: LARGE_MEMBERS} if size > LARGE_MEMBERS else {})
        agent, crowd = lab.agent(1, NWDISCO), lab.agent(2, CROWD)
        times = crowd.ask("alone", names, names[-1], wait_s=60).result
        began = time.monotonic()
        crowd.ask("start", [names[at : at + ADVERTS_A_NODE] for at in range(0, size, ADVERTS_A_NODE)])
        status = _until(agent, size)
        learned_s = time.monotonic() - began
        time.sleep(2)
        times.append(agent.ask("look_up", names[-1]).result)
        for group in (SMALL, LARGE):
            members = groups.get(group)
            times.append(agent.ask("look_up_group", group, members).result if members else math.nan)
        if LARGE not in groups:
            times[2] = math.nan
        memory = number(memory_mb(status["pid"]), "MB")
        lines.append([f"{size:,}", *(number(seconds, "s") for seconds in times), number(learned_s, "s"), memory])
        lab.clear()
    return lines


def nodes(lab: Lab) -> list[list[str]]:
    """Nodes on another host, one advert each: what the beacon costs while nothing happens."""
    lines = [["other nodes", "beacon's CPU", "beacon's memory", "it sends"]]
    for size in NODES:
        agent, crowd = lab.agent(1, NWDISCO), lab.agent(2, CROWD)
        crowd.ask("start", [[f"node-{node}/service"] for node in range(size)])
        status = _until(agent, size)
        lines.append([f"{size:,}", *_quiet(lab, status["pid"], CPU_S)])
        lab.clear()
    return lines


def services(lab: Lab) -> list[list[str]]:
    """Services of one program: what its node costs while nothing happens, with another node there."""
    lines = [["services", "beacon's CPU", "beacon's memory", "it sends"]]
    for size in SERVICES:
        agent, other = lab.pair(NWDISCO)
        agent.ask("advertise_many", [f"service-{number}" for number in range(size)])
        _until(other, size + 1)
        lines.append([f"{size:,}", *_quiet(lab, _status(agent)["pid"], QUIET_S)])
        lab.clear()
    return lines


def _names(size: int) -> list[str]:
    """The small group first, then (where there is room for more) the large one, then names in groups of ten."""
    names = [f"{SMALL}/{number}" for number in range(SMALL_MEMBERS)]
    if size > LARGE_MEMBERS:
        names += [f"{LARGE}/{number}" for number in range(LARGE_MEMBERS)]
    return names + [f"group-{number // 10}/service-{number}" for number in range(size - len(names))]


def _until(agent: Agent, adverts: int) -> dict[str, int]:
    """The beacon's status once it knows of so many adverts."""
    until = time.monotonic() + LEARN_LIMIT_S
    while (status := _status(agent))["adverts"] < adverts:
        if time.monotonic() > until:
            raise BenchmarkError(f"{agent.name}: the beacon knows of {status['adverts']} adverts only")
        time.sleep(0.1)
    return status


def _status(agent: Agent) -> dict[str, int]:
    status: dict[str, int] = agent.ask("status").result
    return status


def _quiet(lab: Lab, pid: int, seconds: float) -> list[str]:
    """CPU, memory and traffic of host 1 and its beacon over a while in which nothing happens."""
    time.sleep(SETTLE_S)
    began_at, used_s, sent = time.monotonic(), cpu_s(pid), lab.network.sent_bytes(1)
    time.sleep(seconds)
    passed_s = time.monotonic() - began_at
    cpu = (cpu_s(pid) - used_s) / passed_s * 100
    return [f"{cpu:.2f} %", number(memory_mb(pid), "MB"), number((lab.network.sent_bytes(1) - sent) / passed_s, "B/s")]


PARTS: Final = (
    Part("10", "As the adverts grow", adverts),
    Part("11", "As the nodes grow", nodes),
    Part("12", "As a node's services grow", services),
)
