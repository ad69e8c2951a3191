"""A worker: one process, one target, one engine. __main__.py starts it and reads the ledger and the crashes that it leaves.

`python -m tests.fuzz.worker TARGET ENGINE FOLDER INPUTS SECONDS SEED` (0 seconds: no end)
"""

from __future__ import annotations

import importlib
import os
import sys
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .hunt import Hunt

GUIDED_SHARE = 0.5
"""Of the mutations that libFuzzer makes itself; the others are ours, which know JSON."""


def main(target: str, engine: str, folder: str, inputs: str, seconds: str, seed: str) -> None:
    if engine == "atheris":
        atheris = importlib.import_module("atheris")
        with atheris.instrument_imports(include=["nwdisco"]):  # what is imported in here is what guides
            importlib.import_module("tests.fuzz.targets")
    from .hunt import Hunt, at_random
    from .ledger import Ledger
    from .targets import BY_NAME

    place = Path(folder)
    hunt = Hunt(BY_NAME[target], Ledger(place / "ledger"), place, int(inputs), float(seconds) or None)
    if engine == "atheris":
        _guided(atheris, hunt, place, int(seed))
    else:
        at_random(hunt, int(seed))


def _guided(atheris: Any, hunt: Hunt, place: Path, seed: int) -> None:
    """By libFuzzer, which keeps what reaches new code. It never returns: the process ends with the last input."""
    from .hunt import STUCK_S
    from .mutations import MAX_BYTES, mutate

    samples = hunt.target.samples
    corpus = place / "corpus"
    corpus.mkdir()
    for number, sample in enumerate(samples):
        (corpus / str(number)).write_bytes(sample)

    def try_one(data: bytes) -> None:
        if not hunt.try_one(data):
            sys.stdout.flush()
            os._exit(0)

    def vary(data: bytes, max_size: int, number: int) -> bytes:
        random = Random(number)
        if random.random() < GUIDED_SHARE:
            return bytes(atheris.Mutate(data, max_size))
        return mutate(data, random, samples)[:max_size]

    limits = [f"-max_len={MAX_BYTES}", "-len_control=0", f"-timeout={STUCK_S}", "-rss_limit_mb=0", "-verbosity=0"]
    arguments = [sys.argv[0], f"-seed={seed}", f"-artifact_prefix={place}/", *limits, str(corpus)]
    atheris.Setup(arguments, try_one, custom_mutator=vary)
    atheris.Fuzz()


if __name__ == "__main__":
    main(*sys.argv[1:])
