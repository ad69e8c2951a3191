"""The beacon as a process of its own, apart from the program that started it."""

from __future__ import annotations

import os
import sys

from ..errors import BeaconRunningError, NwdiscoError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable


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


def _run(ready: Callable[[], None]) -> None:
    # msgspec takes typing_extensions in when it is there: 10 ms of every first call, for nothing that 3.11's typing lacks.
    sys.modules["typing_extensions"] = None  # type: ignore[assignment]
    import msgspec  # noqa: F401

    del sys.modules["typing_extensions"]
    from ..settings import Settings
    from .process import run_beacon
    from .runtime import Runtime

    settings = Settings.from_environment()
    log = os.open(Runtime(settings).log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    os.dup2(log, sys.stderr.fileno())
    os.close(log)
    run_beacon(settings, ready, settings.idle_s)
