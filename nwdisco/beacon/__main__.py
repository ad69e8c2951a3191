"""The beacon as a process of its own, apart from the program that started it."""

from __future__ import annotations

import os
import sys

from ..errors import BeaconRunningError, NwdiscoError


def run_detached() -> None:
    """Started by beacon/start.py: leave its process tree, say on READY_FD how the start went, serve."""
    from .start import READY, READY_FD, TAKEN

    if os.fork():
        os._exit(0)  # the program waits for this one only: the beacon is nobody's child
    os.setsid()
    os.chdir("/")
    os.umask(0o077)
    os.closerange(READY_FD + 1, os.sysconf("SC_OPEN_MAX"))

    def ready() -> None:
        os.write(READY_FD, READY)
        os.close(READY_FD)

    try:
        _run(ready)
    except BeaconRunningError:
        os.write(READY_FD, TAKEN)
    except NwdiscoError as error:
        os.write(READY_FD, str(error).encode())
        sys.exit(1)


def _run(ready: object) -> None:
    # asyncio takes in ssl when it can, which is 4 MB and 5 ms; the beacon's sockets are plain.
    sys.modules["ssl"] = None  # type: ignore[assignment]
    import asyncio  # noqa: F401

    del sys.modules["ssl"]
    import logging

    from ..config import Settings
    from .process import run_beacon
    from .runtime import Runtime

    settings = Settings.from_environment()
    logging.basicConfig(
        filename=Runtime(settings).log, filemode="w", level=logging.INFO, format="%(asctime)s %(message)s"
    )
    run_beacon(settings, ready, settings.idle_s)  # type: ignore[arg-type]
