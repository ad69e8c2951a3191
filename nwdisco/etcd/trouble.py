"""What is wrong with etcd, said in the log once, and once that all is well again: for who tries again by himself.

That etcd does not answer is said by the connection, once for all who use it.
"""

from __future__ import annotations

import logging

from ..errors import RegistryError, RegistryUnavailableError
from .connection import Connection

logger = logging.getLogger("nwdisco")


class Trouble:
    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._is_said = False
        self.why_not: str | None = None
        """What is wrong, if something is."""

    def failed(self, error: RegistryError) -> None:
        self.why_not = str(error)
        if isinstance(error, RegistryUnavailableError):
            self._connection.note_away(error)
        elif not self._is_said:
            self._is_said = True
            logger.warning("%s; tried again until all is well", error)

    def well(self) -> bool:
        """Whether something was wrong until now."""
        was_wrong, self.why_not = self.why_not is not None, None
        if self._is_said:
            self._is_said = False
            logger.warning("etcd at %s: all is well again", self._connection.settings)
        return was_wrong
