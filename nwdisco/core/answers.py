"""What was answered last to each question, kept as long as it is true: many ask the same again and again."""

from __future__ import annotations

from .. import config
from .directory import Directory
from .shim import Wanted

Question = tuple[type, Wanted]
"""Dialect, and what is wanted."""
ENTRY_BYTES = 600
"""What an entry takes beside its answer: an advert's name at most, and Python's own."""


class Answers:
    def __init__(self, directory: Directory) -> None:
        self._directory = directory
        self._changes = directory.changes
        """The directory's, when these answers were true."""
        self._kept: dict[Question, tuple[bytes, float]] = {}
        """The answer, and until when its leases run."""
        self._bytes = 0

    def get(self, question: Question, now: float) -> bytes | None:
        if self._changes != self._directory.changes:
            self.forget()
            return None
        kept = self._kept.get(question)
        return kept[0] if kept is not None and now < kept[1] else None

    def keep(self, question: Question, answer: bytes, until: float) -> None:
        """For what was found; what nobody has is answered fast enough, and there are endlessly many such names."""
        size = len(answer) + ENTRY_BYTES
        if self._changes != self._directory.changes or self._bytes + size > config.MAX_SHIM_REMEMBERED:
            self.forget()
        if question not in self._kept:
            self._bytes += size
        self._kept[question] = answer, until

    def forget(self) -> None:
        self._changes = self._directory.changes
        if self._kept:
            self._kept.clear()
            self._bytes = 0
