"""Where a user's beacon is found: a directory of the user's own (0700) with its socket and its locks.

Standard library only: programs import it too.
"""

from __future__ import annotations

import os
import socket
import stat

from ..errors import BeaconError
from ..settings import Settings

MAX_SOCKET_PATH = 100
"""Bytes; Unix sockets take 108 on Linux, 104 on macOS."""


class Runtime:
    """The paths of one user's beacon. Raises BeaconError when the directory is not safe to use."""

    def __init__(self, settings: Settings) -> None:
        if os.name != "posix":
            raise BeaconError("nwdisco's beacon runs on Linux and other POSIX systems only, so far")
        self.directory = settings.runtime_dir or _directory_of_user()
        room = _in_file_names(settings.room)
        self.socket = os.path.join(self.directory, f"beacon{room}.sock")
        self.lock = os.path.join(self.directory, f"beacon{room}.lock")
        """Held by the beacon as long as it lives."""
        self.start_lock = os.path.join(self.directory, f"start{room}.lock")
        """Held by the program that is starting one."""
        self.log = os.path.join(self.directory, f"beacon{room}.log")
        if len(os.fsencode(self.socket)) > MAX_SOCKET_PATH:
            raise BeaconError(
                f"the path {self.socket} is too long for a socket ({MAX_SOCKET_PATH} bytes): set NWDISCO_RUNTIME_DIR to a"
                " shorter one"
            )

    def prepare(self) -> None:
        """Make the directory if need be; see to it that nobody else can get in."""
        try:
            os.makedirs(self.directory, mode=0o700, exist_ok=True)
            found = os.lstat(self.directory)
        except OSError as error:
            raise BeaconError(
                f"{self.directory} cannot be made ({error.strerror}): set NWDISCO_RUNTIME_DIR to a directory of yours"
            ) from error
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid():
            raise BeaconError(
                f"{self.directory} is not a directory of yours (owner {found.st_uid}): remove it, or set"
                " NWDISCO_RUNTIME_DIR to one that is"
            )
        if found.st_mode & 0o077:
            raise BeaconError(f"{self.directory} is open to other users: run  chmod 700 {self.directory}")

    def connect(self) -> socket.socket | None:
        """A connection to the beacon; None when none is running."""
        connection = socket.socket(socket.AF_UNIX)
        try:
            connection.connect(self.socket)
        except (FileNotFoundError, ConnectionRefusedError):
            connection.close()
            return None
        except OSError as error:
            connection.close()
            raise BeaconError(f"the beacon's socket {self.socket} cannot be used: {error.strerror}") from error
        return connection


def _in_file_names(room: str) -> str:
    """A room as a part of file names, whatever characters its name has."""
    if not room:
        return ""
    from hashlib import blake2s  # most have no room

    return "-" + blake2s(room.encode(), digest_size=8).hexdigest()


def _directory_of_user() -> str:
    """XDG_RUNTIME_DIR/nwdisco where that is this user's own, else /tmp/nwdisco-UID."""
    xdg = os.environ.get("XDG_RUNTIME_DIR", "")
    try:
        if xdg and os.stat(xdg).st_uid == os.geteuid():
            return os.path.join(xdg, "nwdisco")
    except OSError:
        pass  # named, but not there: the other place will do
    return f"/tmp/nwdisco-{os.geteuid()}"
