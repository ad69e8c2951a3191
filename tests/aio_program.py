"""Small asyncio programs for the tests: each is real, and calls the verbs of `nwdisco.aio` against a real beacon.

Such a program has `run` around its `main`, and ends with an assertion error when a promise is broken. It looks at the
beacon through `programs()` and `adverts()`, which open a connection of their own.
"""

from __future__ import annotations

import subprocess
from textwrap import dedent

from tests.machines import Machine

PREAMBLE = """
import asyncio, json, os, signal, socket, sys, time
import nwdisco as nw0
from nwdisco import aio
from nwdisco.beacon import start

DEADLINE_S = 20.0

def status():
    while True:
        try:
            with start.connect_or_start() as end:
                end.sendall(b'nwdisco-control 1\\n{"do":"status"}\\n')
                return json.loads(end.makefile().readline())
        except (OSError, ValueError):
            continue  # a beacon that was just killed

def programs():
    "Connections to the beacon, without the one that asks."
    return status()["programs"] - 1

def adverts():
    return status()["adverts"]

async def until(condition, wanted, what):
    end = time.monotonic() + DEADLINE_S
    while (value := condition()) != wanted:
        assert time.monotonic() < end, f"{what}: {value!r} and not {wanted!r}"
        await asyncio.sleep(0.005)

def run(main):
    "With asyncio's debug mode, which complains of what was forgotten; here not of what is slow on a busy machine."
    async def patiently():
        asyncio.get_running_loop().slow_callback_duration = DEADLINE_S
        await main()
    start.connect_or_start().close()
    asyncio.run(patiently(), debug=True)
"""


def run_program(machine: Machine, code: str) -> subprocess.CompletedProcess[str]:
    """Run an asyncio program, to whatever end."""
    return machine.python(PREAMBLE + dedent(code))


def succeed(machine: Machine, code: str) -> str:
    """Run an asyncio program that must come to its end without complaint; what it printed."""
    done = run_program(machine, code)
    assert done.returncode == 0, done.stderr
    assert done.stderr == "", f"it complained: {done.stderr}"
    return done.stdout
