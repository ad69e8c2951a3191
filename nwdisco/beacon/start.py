"""How a program finds the beacon of its user, or starts one: of twenty that start at once, one does.

Standard library only, and as little of it as can be: this is on the way of every program's first call.
"""

from __future__ import annotations

import fcntl
import os
import select
import sys
import time
from contextlib import suppress

from ..errors import BeaconError
from ..settings import Settings
from .runtime import Runtime

TYPE_CHECKING = False
if TYPE_CHECKING:
    import socket

START_LIMIT_S = 10.0
"""A beacon that is not ready after so long has failed."""
READY = b"ready"
TAKEN = b"taken"
TAKEN_AGAIN_S = 0.02
"""A beacon holds the lock and has no socket yet (or no more): how long until the next look."""
BOOT = "import sys; sys.path += sys.argv[1:]; from nwdisco.beacon.__main__ import run_detached; run_detached()"
READY_FD = 3


def connect_or_start() -> socket.socket:
    """A connection to the user's beacon, which is started if none runs. Raises BeaconError."""
    runtime = Runtime(Settings.from_environment())
    runtime.prepare()
    connection = runtime.connect()
    if connection is not None:
        return connection
    with open(runtime.start_lock, "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # one program starts it, the others wait here
        deadline = time.monotonic() + START_LIMIT_S
        while (connection := runtime.connect()) is None:
            _start(deadline)
            if time.monotonic() > deadline:
                raise BeaconError(f"a beacon holds {runtime.lock} but not its socket: end it, and try again")
    return connection


def connect_if_running() -> socket.socket | None:
    """A connection to the user's beacon; None when none runs. Raises BeaconError."""
    runtime = Runtime(Settings.from_environment())
    runtime.prepare()
    return runtime.connect()


def _start(deadline: float) -> None:
    """Start a beacon, apart from this program, and wait until it is ready."""
    if not sys.executable:
        raise BeaconError("this Python does not know its own executable: run  nwdisco beacon  by hand")
    ready, report = os.pipe()
    try:
        null = os.open(os.devnull, os.O_RDWR)
        actions = [(os.POSIX_SPAWN_DUP2, null, fd) for fd in (0, 1, 2)] + [(os.POSIX_SPAWN_DUP2, report, READY_FD)]
        # -I -S: neither the user's directory (a socket.py of his own!) nor site's start-up files come in.
        command = [sys.executable, "-I", "-S", "-c", BOOT, *_places_of_packages()]
        child = os.posix_spawn(sys.executable, command, os.environ, file_actions=actions, setsigmask=())
        os.close(null)
    except OSError as error:
        os.close(ready)
        raise BeaconError(f"the beacon cannot be started ({error}): run  nwdisco beacon  by hand") from error
    finally:
        os.close(report)
    try:
        said = _read(ready, deadline)
    finally:
        os.close(ready)
    with suppress(ChildProcessError):  # the program may ignore SIGCHLD
        os.waitpid(child, 0)  # the beacon itself is its child, and lives on
    if said is None:
        raise BeaconError(f"the beacon was not ready after {START_LIMIT_S:g} s: run  nwdisco beacon  to see why")
    if said == TAKEN:
        time.sleep(TAKEN_AGAIN_S)
    elif said != READY:
        raise BeaconError(
            f"the beacon ended at once: {said.decode(errors='replace') or 'it said nothing'}. Run  nwdisco beacon  to see why"
        )


def _places_of_packages() -> list[str]:
    """Where this program finds nwdisco and what it needs, without the program's own directory."""
    home = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    return [home, *(os.path.abspath(place) for place in sys.path[1:] if place)]


def _read(fd: int, deadline: float) -> bytes | None:
    """All that comes until the other end closes; None at the deadline."""
    said = b""
    while True:
        left_s = deadline - time.monotonic()
        if left_s <= 0 or not select.select([fd], [], [], left_s)[0]:
            return None
        part = os.read(fd, 4096)
        if not part:
            return said
        said += part
