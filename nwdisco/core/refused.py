"""A request that a door cannot answer as asked."""

from __future__ import annotations


class Refused(Exception):
    """`code` is for programs, the text for people."""

    def __init__(self, code: str, message: str, address: str = "") -> None:
        super().__init__(message)
        self.code = code
        self.address = address
        """The address of the advert that is in the way, if that is the reason."""


class Broken(Refused):
    """Nothing that follows on the connection can be understood either: it ends."""
