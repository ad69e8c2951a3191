"""What constructors check of the objects that they are given, so that a slip is told of where it was made."""

from __future__ import annotations


def check_kind(given: object, kind: type, instead: str) -> None:
    """ValueError for what is none, and for a class in the place of an object; `instead` says what to give."""
    if isinstance(given, type):
        raise ValueError(f"{given.__name__} is the class: give one of it, {given.__name__}(...)")
    if not isinstance(given, kind):
        raise ValueError(f"{type(given).__name__} is no {kind.__name__}: {instead}")
