"""The hunt: input after input into one target, until there were enough; each fault is kept once, with its shortest input."""

from __future__ import annotations

import json
import time
import traceback
from hashlib import blake2s
from pathlib import Path
from random import Random
from typing import NamedTuple

from .ledger import Ledger
from .mutations import MAX_BYTES, mutate
from .targets import Target

STUCK_S = 60
"""A worker that is at one input for so long hangs."""
LOOK_EVERY = 256
"""Inputs between two looks at the clock."""
KEPT = 4096
"""Inputs that the random engine goes on from, beside the samples."""


class Crash(NamedTuple):
    """A fault, and an input that shows it."""

    target: str
    data: bytes
    text: str
    """The traceback, or what ended the process."""

    def save(self, folder: Path, key: str) -> None:
        told = {"target": self.target, "data": self.data.hex(), "text": self.text}
        (folder / f"{self.target}-{key}.json").write_text(json.dumps(told, indent=1))


def saved(folder: Path) -> list[Crash]:
    told = [json.loads(path.read_text()) for path in sorted(folder.glob("*.json"))]
    return [Crash(one["target"], bytes.fromhex(one["data"]), one["text"]) for one in told]


class Hunt:
    """One target's inputs so far."""

    def __init__(self, target: Target, ledger: Ledger, folder: Path, inputs: int, seconds: float | None) -> None:
        self.target = target
        self._ledger = ledger
        self._folder = folder
        self._inputs = inputs
        self._end = None if seconds is None else time.monotonic() + seconds
        self._shortest: dict[str, int] = {}
        """The length of the shortest input of each fault."""

    def try_one(self, data: bytes) -> bool:
        """One input more; False when it was the last."""
        self._ledger.begin(data)
        try:
            self.target.run(data)
        except Exception as error:
            self._keep(data, error)
        count = self._ledger.count
        if count >= self._inputs:
            return False
        return self._end is None or count % LOOK_EVERY != 0 or time.monotonic() < self._end

    def _keep(self, data: bytes, error: Exception) -> None:
        """Faults are told apart by where they were raised."""
        where = [(frame.filename, frame.lineno) for frame in traceback.extract_tb(error.__traceback__)]
        key = blake2s(repr((type(error).__name__, where[-1])).encode(), digest_size=4).hexdigest()
        if len(data) < self._shortest.get(key, MAX_BYTES + 1):
            self._shortest[key] = len(data)
            Crash(self.target.name, data, "".join(traceback.format_exception(error))).save(self._folder, key)


def at_random(hunt: Hunt, seed: int) -> None:
    """Mutations of the samples, and of some mutations: fast, and blind to what they reach."""
    random, samples = Random(seed), hunt.target.samples
    if not all([hunt.try_one(data) for data in samples]):
        return
    pool = list(samples)
    while True:
        data = mutate(pool[int(random.random() * len(pool))], random, samples)
        if not hunt.try_one(data):
            return
        if random.random() < 0.02:
            if len(pool) < KEPT:
                pool.append(data)
            else:
                pool[len(samples) + int(random.random() * (KEPT - len(samples)))] = data
