"""The pages of docs/, as what tests compare with the code: fenced blocks, tables, links."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

DOCS = Path(__file__).parent.parent / "docs"


class Block(NamedTuple):
    kind: str
    """The first word of the info string."""
    size: int | None
    """What `bytes=` in the info string claims of each line."""
    lines: tuple[bytes, ...]
    line_number: int

    @property
    def text(self) -> str:
        return b"\n".join(self.lines).decode()


class Document:
    def __init__(self, name: str) -> None:
        self.text = (DOCS / name).read_text(encoding="utf-8")
        self.blocks: list[Block] = []
        for match in re.finditer(r"^```(\w+)(?: bytes=(\d+))?\n(.*?)\n```$", self.text, re.MULTILINE | re.DOTALL):
            kind, size, content = match.groups()
            line_number = self.text.count("\n", 0, match.start()) + 1
            lines = tuple(content.encode().split(b"\n"))
            self.blocks.append(Block(kind, int(size) if size else None, lines, line_number))
        assert self.text.count("\n```") == 2 * len(self.blocks), "a fenced block that is not read"

    def of_kind(self, kind: str) -> list[Block]:
        return [block for block in self.blocks if block.kind == kind]

    def table_rows(self, first_header: str) -> list[tuple[str, str]]:
        """The first two cells of each row of the tables that begin with such a header."""
        rows = []
        for table in re.findall(r"(?:^\|.*\n)+", self.text, re.MULTILINE):
            header, _, *lines = ([cell.strip() for cell in line.split("|")[1:-1]] for line in table.splitlines())
            if header[0] == first_header:
                rows += [(cells[0].strip("`"), cells[1]) for cells in lines]
        return rows

    def broken_links(self) -> set[str]:
        """Links to a heading of this page, or a file, that is not there."""
        headings = re.findall(r"^#+ (.*)$", self.text, re.MULTILINE)
        anchors = {"#" + re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}
        links = set(re.findall(r"\]\(([^):]*)\)", self.text))
        return {link for link in links - anchors if link.startswith("#") or not (DOCS / link.split("#")[0]).exists()}
