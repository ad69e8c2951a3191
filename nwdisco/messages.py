"""Messages and news as bytes, as NetworkZero has them: JSON; a topic and JSON (or bytes as they are)."""

from __future__ import annotations

import json
from collections.abc import Iterable

from . import config
from .errors import MessageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any


class Foreign(Exception):
    """What arrived is no message."""


def encode(message: object) -> bytes:
    """Raises MessageError."""
    try:
        data = json.dumps(message).encode()
    except (TypeError, ValueError, RecursionError) as error:
        kinds = "text, numbers, True, False, None, and lists, tuples and dicts of these"
        raise MessageError(
            f"this message cannot be sent ({error}): send {kinds}; bytes as nw0.bytes_to_string(...)"
        ) from None
    return _small_enough(data)


def decode(data: bytes) -> Any:
    """Raises Foreign."""
    try:
        return json.loads(data.decode())
    except (ValueError, RecursionError) as error:
        raise Foreign(str(error)) from None


def encode_news(topic: str, data: object) -> list[bytes]:
    """The two frames. Bytes go as they are. Raises MessageError."""
    frames = [_encode_text(topic, "topic"), data if isinstance(data, bytes) else encode(data)]
    return [_small_enough(frame) for frame in frames]


def encode_prefixes(prefix: object) -> tuple[bytes, ...]:
    """One prefix of topics, or several. Raises MessageError."""
    several = [prefix] if isinstance(prefix, str) or not isinstance(prefix, Iterable) else prefix
    return tuple(_encode_text(one, "prefix") for one in several)


def decode_news(frames: Sequence[bytes], is_raw: bool) -> tuple[str, Any]:
    """Raises Foreign."""
    if len(frames) != 2:
        raise Foreign(f"{len(frames)} frames where news have 2")
    try:
        topic = frames[0].decode()
    except UnicodeDecodeError as error:
        raise Foreign(str(error)) from None
    return topic, frames[1] if is_raw else decode(frames[1])


def split_envelope(frames: list[bytes]) -> tuple[list[bytes], bytes]:
    """What a reply begins with to find its way back (ends with an empty frame), and the message. Raises Foreign."""
    if len(frames) < 3 or frames[-2]:
        raise Foreign(f"{len(frames)} frames that are no request")
    return frames[:-1], frames[-1]


def _encode_text(text: object, what: str) -> bytes:
    try:
        if isinstance(text, str):
            return text.encode()
    except UnicodeEncodeError:
        pass
    raise MessageError(f"the {what} is {str(text)[:60]!r}: give text that UTF-8 can carry")


def _small_enough(data: bytes) -> bytes:
    if len(data) > config.MAX_MESSAGE_BYTES:
        mb = config.MAX_MESSAGE_BYTES // 2**20
        raise MessageError(
            f"this message takes {len(data)} bytes, and {mb} MiB is the most: send it in parts, or serve it another way"
        )
    return data
