"""What was answered last to each question, kept as long as it is true: many ask the same again and again."""

from __future__ import annotations

from .. import config
from .shim import Wanted


class Answers:
    def __init__(self) -> None:
        self._kept: dict[tuple[type, Wanted], tuple[bytes, float]] = {}
        """By dialect and question: the answer, and until when."""
        self._bytes = 0

    def get(self, question: tuple[type, Wanted], now: float) -> bytes | None:
        kept = self._kept.get(question)
        return kept[0] if kept is not None and now < kept[1] else None

    def keep(self, question: tuple[type, Wanted], answer: bytes, until: float) -> None:
        if self._bytes + len(answer) > config.MAX_SHIM_REMEMBERED:
            self.forget()
        self._bytes += len(answer)
        self._kept[question] = answer, until

    def forget(self) -> None:
        """Something has changed."""
        if self._kept:
            self._kept.clear()
            self._bytes = 0
