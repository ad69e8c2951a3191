"""Small things that the messenger's tests share."""

from __future__ import annotations

from typing import Any

from tests.machines import Program
from tests.ports import free_port


def own_address() -> str:
    return f"127.0.0.1:{free_port()}"


def asks(program: Program, address: str, message: Any = "hello") -> None:
    program.begin("send_message_to", address, message, wait_for_reply_s=30)
