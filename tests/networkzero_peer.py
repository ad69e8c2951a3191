"""Unmodified NetworkZero for the tests: a Python that has it, and programs that call its verbs as they are told.

Run by such a Python this is the program itself: [verb, args, kwargs] a line in, JSON lines out, as tests/agent.py does.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

DIRECTORY = Path("~/.cache/nwdisco-tests/networkzero").expanduser()
VARIABLE = "NWDISCO_TESTS_NETWORKZERO"
INSTALL = (
    f"python3 -m venv {DIRECTORY} && {DIRECTORY}/bin/pip install --no-deps networkzero==1.0b1 netifaces-plus pyzmq"
)
"""In an environment of its own: it brings netifaces, which nwdisco has the fork of (the same module, with wheels)."""
VERBS = (
    "advertise",
    "discover",
    "discover_all",
    "discover_group",
    "reset_beacon",
    "send_message_to",
    "send_news_to",
    "send_reply_to",
    "wait_for_message_from",
    "wait_for_news_from",
)


MALFORMED = [
    b"",
    b"\xff",
    b"\xff\xfe",
    b"[]",
    b"{}",
    b'["x"]',
    b'["x","a:1"]',
    b'["x","a:1",20,1]',
    b'["x",1,20]',
    b'[1,"a:1",20]',
    b'["x","a:1","20"]',
    b'["x","a:1",true]',
    b'["x","a:1",NaN]',
    b'["x","a:1",1e999]',
    b'["","a:1",20]',
    b'["x","",20]',
    b'["a\\nb","a:1",20]',
    b'["\\ud800","a:1",20]',
    b"[" * 256,
]
"""Datagrams that are no advert of NetworkZero's."""


def python() -> str:
    """A Python with networkzero; skips the test where there is none."""
    import pytest

    found = Path(os.environ.get(VARIABLE) or DIRECTORY / "bin" / "python")
    if not found.exists():
        pytest.skip(f"needs NetworkZero: run  {INSTALL}  or set {VARIABLE} to a Python that has it")
    return str(found)


def main() -> None:
    import networkzero as nw0
    from networkzero import discovery

    print(json.dumps({"pid": os.getpid()}), flush=True)
    for line in sys.stdin:
        verb, args, kwargs = json.loads(line)
        assert verb in VERBS
        answer: dict[str, Any]
        try:
            answer = {"value": (getattr(nw0, verb, None) or getattr(discovery, verb))(*args, **kwargs)}
        except Exception as error:
            answer = {"error": type(error).__name__, "message": str(error)}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
