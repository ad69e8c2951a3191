"""Connections to a listener that speak no ZeroMQ (a browser, a port scan): ZeroMQ drops them; this says so in the log."""

from __future__ import annotations

import logging
import time

import zmq
from zmq.utils.monitor import recv_monitor_message

EVENTS = (
    zmq.EVENT_ACCEPTED
    | zmq.EVENT_HANDSHAKE_SUCCEEDED
    | zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL
    | zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL
    | zmq.EVENT_HANDSHAKE_FAILED_AUTH
    | zmq.EVENT_DISCONNECTED
)
A_LINE_EVERY_S = 1.0
"""However many they are."""


class Strangers:
    def __init__(self, monitor: zmq.Socket[bytes], place: str) -> None:
        self._monitor = monitor
        self._place = place
        self._new: set[int] = set()
        """Connections that have said nothing yet, by their file descriptors."""
        self._said_at = -A_LINE_EVERY_S
        self.look()  # from now on the monitor's file descriptor tells of what is new

    def look(self) -> None:
        """What has happened since the last look."""
        strange = False
        while self._monitor.poll(0):
            message = recv_monitor_message(self._monitor)
            event, connection = message["event"], message["value"]
            if event == zmq.EVENT_ACCEPTED:
                self._new.add(connection)
            elif event == zmq.EVENT_HANDSHAKE_SUCCEEDED:
                self._new.clear()  # its value is none that tells which one
            elif event != zmq.EVENT_DISCONNECTED or connection in self._new:
                self._new.discard(connection)
                strange = True
        if strange and time.monotonic() - self._said_at > A_LINE_EVERY_S:
            self._said_at = time.monotonic()
            logging.getLogger("nwdisco").warning(
                "somebody connected to %s who speaks no ZeroMQ, and was dropped", self._place
            )
