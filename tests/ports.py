"""Free ports for servers and beacons of the tests."""

from __future__ import annotations

import os
import random
import socket

FIRST, LAST = 10_000, 32_767
"""Below the ports that the kernel gives to whoever asks for any: a port picked here is not gone before its server has it."""

_workers = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
_worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
_share = range(FIRST + _worker, LAST + 1, _workers)
"""Each worker of pytest has ports of its own."""
_next = random.randrange(len(_share))


def free_port() -> int:
    """A port free for TCP and UDP on every address of this machine; no other worker gets it, and this one not soon again."""
    global _next
    for _ in _share:
        port = _share[_next]
        _next = (_next + 1) % len(_share)
        with socket.socket() as tcp, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
            try:
                tcp.bind(("", port))
                udp.bind(("", port))
            except OSError:
                continue
            return port
    raise OSError(f"no free port from {FIRST} to {LAST}")
