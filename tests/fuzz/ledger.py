"""The ledger: how many inputs a worker has tried, and which one it is at, in memory that outlives it.

So the figure is exact, and the input known, even where it is the interpreter itself that crashed or hangs.
"""

from __future__ import annotations

import mmap
import struct
from pathlib import Path

HEAD = struct.Struct("<QQ")
"""How many, and the length of the input."""
ROOM = 65_536


class Ledger:
    def __init__(self, path: Path) -> None:
        if not path.exists():
            path.write_bytes(bytes(HEAD.size + ROOM))
        with path.open("r+b") as file:
            self._memory = mmap.mmap(file.fileno(), HEAD.size + ROOM)
        self.count = int(HEAD.unpack_from(self._memory)[0])

    def begin(self, data: bytes) -> None:
        """This input is next."""
        self.count += 1
        part = data[:ROOM]
        HEAD.pack_into(self._memory, 0, self.count, len(part))
        self._memory[HEAD.size : HEAD.size + len(part)] = part

    def read(self) -> tuple[int, bytes]:
        """What the worker has written: how many, and the last."""
        count, length = HEAD.unpack_from(self._memory)
        return count, self._memory[HEAD.size : HEAD.size + length]

    def close(self) -> None:
        self._memory.close()
