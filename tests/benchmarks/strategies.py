"""What a pick costs by each strategy, as the instances grow: `python -m tests.benchmarks.strategies` prints a Markdown table.

The processor's time of one thread, which other programs on the machine disturb least. Each figure is the median of several
runs, of each run the mean over many calls. All but the last row are without the lock of a pool around the strategy.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from typing import Final

from nwdisco.services import (
    Chosen,
    Discovery,
    Healthy,
    JsonPerInstance,
    MemoryRegistry,
    Pool,
    RegistrySource,
    ServiceInstance,
    Strategy,
    Weighted,
    strategy_named,
)

SIZES: Final = (10, 1_000, 10_000)
RUNS: Final = 7
PICKS: Final = 5_000
MOVES: Final = 500
"""Instances that leave and join again in a run, while the others are there."""


def first_of(instances: Sequence[ServiceInstance]) -> ServiceInstance:
    return instances[0]


STRATEGIES: Final[dict[str, Callable[[], Strategy]]] = {
    "round robin": lambda: strategy_named("round robin"),
    "random": lambda: strategy_named("random"),
    "least used (pick and done)": lambda: strategy_named("least used"),
    "weighted": Weighted,
    "healthy (round robin)": Healthy,
    "a function (the first)": lambda: Chosen(first_of),
}
POOL: Final = "a pool of round robin (pick and done)"


def instances(size: int) -> list[ServiceInstance]:
    return [
        ServiceInstance("default", "printer", str(number), {"weight": str(number % 9 + 1)}) for number in range(size)
    ]


def pick_s(picking: Strategy | Pool) -> float:
    began = time.thread_time()
    for _ in range(PICKS):
        instance = picking.pick()
        assert instance is not None
        picking.done(instance)
    return (time.thread_time() - began) / PICKS


def move_s(strategy: Strategy, there: list[ServiceInstance]) -> tuple[float, float]:
    """Of a leaving and of a joining."""
    moving = there[:: max(1, len(there) // MOVES)][:MOVES]
    began = time.thread_time()
    for instance in moving:
        strategy.left(instance)
    left_at = time.thread_time()
    for instance in moving:
        strategy.joined(instance)
    return (left_at - began) / len(moving), (time.thread_time() - left_at) / len(moving)


def row(name: str, make: Callable[[], Strategy]) -> list[str]:
    picks: list[str] = []
    for size in SIZES:
        there = instances(size)
        strategy = make()
        for instance in there:
            strategy.joined(instance)
        pick_s(strategy)
        picks.append(_time(statistics.median(pick_s(strategy) for _ in range(RUNS))))
        moves = [move_s(strategy, there) for _ in range(RUNS)]
    left, joined = (_time(statistics.median(times)) for times in zip(*moves, strict=True))
    return [name, *picks, joined, left]


def pool_row() -> list[str]:
    picks: list[str] = []
    schema = JsonPerInstance()
    for size in SIZES:
        with MemoryRegistry() as registry, Discovery(RegistrySource(registry, schema)) as discovery:
            for instance in instances(size):
                registry.put_all(schema.write(instance))
            pool = discovery.pool("printer")
            pick_s(pool)
            picks.append(_time(statistics.median(pick_s(pool) for _ in range(RUNS))))
    return [POOL, *picks, "", ""]


def _time(seconds: float) -> str:
    return f"{seconds * 1e9:.0f} ns" if seconds < 1e-6 else f"{seconds * 1e6:.1f} µs"


def main() -> None:
    most = f"{SIZES[-1]:,}"
    header = ["strategy", *(f"a pick of {size:,}" for size in SIZES), f"joining {most}", f"leaving {most}"]
    lines = [header, ["---"] * len(header), *(row(name, make) for name, make in STRATEGIES.items()), pool_row()]
    for line in lines:
        print("|", " | ".join(line), "|")


if __name__ == "__main__":
    main()
