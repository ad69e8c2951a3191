"""Is the service still there whose reply is waited for?

The connection tells when its program dies; the beacon, when its machine does.
"""

from __future__ import annotations

import time
from contextlib import suppress

from . import config
from .beacon import start
from .connection import Connection, Gone
from .errors import BeaconError, ServiceGoneError
from .known import known
from .sockets import Socket


class Vigil:
    """Look now and then, for one wait."""

    def __init__(self, address: str, socket: Socket) -> None:
        self._address = address
        self._socket = socket
        self._names = known(address)
        self._has_listed = False
        self._next_at = time.monotonic() + config.WATCH_OVER_S

    def look(self) -> float:
        """Look, if it is time to; seconds until the next look. Raises ServiceGoneError."""
        left_s = self._next_at - time.monotonic()
        if left_s > 0:
            return left_s
        self._look_at_connection()
        self._ask_beacon()
        self._next_at = time.monotonic() + config.WATCH_OVER_S
        return config.WATCH_OVER_S

    def _look_at_connection(self) -> None:
        if self._socket.has_events():
            raise ServiceGoneError(f"{self._address} closed the connection before it replied: its program has ended")

    def _ask_beacon(self) -> None:
        """What the beacon listed at this address once, and lists there no more, is gone. Who was never listed is not missed."""
        if self._has_listed and not self._names:
            return
        with suppress(BeaconError, Gone):  # no beacon, no knowledge
            end = start.connect_if_running()
            if end is None:
                return
            connection = Connection(end)
            try:
                if not self._names:
                    adverts = connection.ask({"do": "list"})["adverts"]
                    self._names = {name for name, address, *_ in adverts if address == self._address}
                    self._has_listed = True
                    return
                for name in self._names:
                    if connection.ask({"do": "discover", "name": name, "wait_s": 0})["address"] == self._address:
                        return
            finally:
                connection.close()
            names = ", ".join(sorted(self._names))
            raise ServiceGoneError(f"{names} at {self._address} has left the network before it replied")
