"""What the beacon of this user knows, if one runs; none is started."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import Any, Final, NamedTuple

from ..beacon.runtime import Runtime
from ..connection import Connection, Gone
from ..core.contacts import Address
from ..core.diagnosis import BeaconState, Outsider
from ..errors import BeaconError
from ..settings import Settings

COMPARED: Final = ("room", "port", "group", "has_secret")
LATELY_S: Final = 10.0
"""Strangers that the beacon heard longer ago may have left or been mended: who is there sends more often."""


class Told(NamedTuple):
    """What a beacon told. Without one, nothing."""

    state: BeaconState | None = None
    nodes: tuple[tuple[str, Address], ...] = ()
    """Those that it knows, and where."""
    outsiders: tuple[Outsider, ...] = ()
    trouble: str = ""
    """Why it told nothing, though it runs."""


def ask(settings: Settings) -> Told:
    """Ask for its status. A directory that is not safe to use is a trouble too."""
    try:
        runtime = Runtime(settings)
        if os.path.lexists(runtime.directory):  # it is not made for this
            runtime.prepare()
        end = runtime.connect()
        if end is None:
            return Told()
        connection = Connection(end)
        try:
            status = connection.ask({"do": "status"})
        finally:
            connection.close()
    except Gone:
        return Told()  # it ended this moment, as an idle beacon may
    except BeaconError as error:
        return Told(trouble=str(error))
    nodes = []
    for node in status["nodes"]:
        ip, _, port = node["address"].rpartition(":")
        nodes.append((node["node"], (ip, int(port))))
    lately = [Outsider(one["reason"], one["ip"]) for one in status["strangers"] if one["heard_s_ago"] < LATELY_S]
    return Told(_state(status, settings), tuple(nodes), tuple(lately))


def since(before: BeaconState, after: BeaconState | None) -> BeaconState:
    """What a beacon told after the look, with what came between; what it told before, if it has ended."""
    if after is None or after.pid != before.pid:
        return before
    return replace(after, unread=after.over_rate - before.over_rate)


def _state(status: dict[str, Any], settings: Settings) -> BeaconState:
    here = {
        "room": settings.room,
        "port": settings.port,
        "group": settings.group,
        "has_secret": bool(settings.secret),
    }
    differs = tuple((what, _shown(status[what]), _shown(here[what])) for what in COMPARED if status[what] != here[what])
    lan = status["lan"]
    return BeaconState(status["pid"], status["version"], differs, lan.get("send_failed", 0), lan.get("over_rate", 0))


def _shown(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return str(value) or "none"
