"""Small things that NetworkZero's programs use."""

from __future__ import annotations

import base64
import shlex

from .errors import MessageError


def action_and_params(commandline: str) -> tuple[str, list[str]]:
    """The first word of a text, and the others, with quotes heeded as in a shell. Raises ValueError for an empty one."""
    words = shlex.split(commandline)
    if not words:
        raise ValueError("the command line is empty: give an action, and what it needs")
    return words[0], words[1:]


def bytes_to_string(data: bytes) -> str:
    """Bytes as text that a message can hold (base64)."""
    return base64.b64encode(data).decode("ascii")


def string_to_bytes(data: str) -> bytes:
    """What bytes_to_string made, as bytes again. Raises MessageError for other text."""
    try:
        return base64.b64decode(data.encode("ascii"), validate=True)
    except (ValueError, AttributeError) as error:
        raise MessageError(f"{repr(data)[:40]} does not come from bytes_to_string: {error}") from None
