"""Scripts: one input cut into steps, so that a fuzzer can play several datagrams, clients and moments with one string of bytes.

Steps are separated by the byte 255, which UTF-8 never has. A step's first byte says who sends it, how, and what time passes
after it; the rest is what is sent. Any bytes are a script.
"""

from __future__ import annotations

from typing import NamedTuple

END = b"\xff"
MOST = 48
"""Steps of one script; what follows is left out."""
PAUSES_S = (0.0, 0.02, 0.6, 6.0)
"""What may pass after a step: nothing, a moment, under a life, over one."""


class Step(NamedTuple):
    how: int
    payload: bytes

    def bits(self, first: int, count: int) -> int:
        """A part of the byte that says how."""
        return self.how >> first & (1 << count) - 1


def steps(data: bytes) -> list[Step]:
    return [Step(part[0], part[1:]) for part in data.split(END, MOST)[:MOST] if part]


def script(*told: tuple[int, bytes]) -> bytes:
    """The input that is these steps."""
    return END.join(bytes([how]) + payload for how, payload in told)
