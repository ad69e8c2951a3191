"""The shim's two dialects as bytes, as far as the benchmarks speak them (SEEDS.md 1 and 2)."""

from __future__ import annotations

import json
from typing import Any, Final

LINES, FRAMED = "lines", "framed"
KEY: Final = "redis"
VALUES: Final = "123456@127.0.0.1:6379"
LONG_S: Final = 3600
"""A key's timeout: longer than any run."""
HEARTBEAT_LEASE_S: Final = 5.0
"""How long a framed registration lives without a heartbeat."""


def compact(content: object) -> bytes:
    return json.dumps(content, separators=(",", ":")).encode()


def line(content: object) -> bytes:
    return compact(content) + b"\r\n"


def frame(content: bytes, content_type: str = "text/json") -> bytes:
    header = compact(
        {
            "byteorder": "little",
            "content-type": content_type,
            "content-encoding": "utf-8",
            "content-length": len(content),
        }
    )
    return len(header).to_bytes(2, "big") + header + content


def request(action: str, **arguments: object) -> bytes:
    """A framed request."""
    return frame(compact({"action": action, **arguments}))


def content(framed: bytes) -> bytes:
    """What a framed message holds. ValueError when it is none, or not all of one."""
    begin = 2 + int.from_bytes(framed[:2], "big")
    header: dict[str, Any] = json.loads(framed[2:begin])
    held = framed[begin:]
    if len(held) != header["content-length"]:
        raise ValueError(f"{len(held)} bytes of content instead of {header['content-length']}")
    return held
