"""docs/networkzero.md says what the code does: its figures, its requests, its counters."""

from __future__ import annotations

import re
from pathlib import Path

from nwdisco import config
from nwdisco.core import networkzero as nz
from tests.documents import Document

DOCUMENT = Document("networkzero.md")


def test_links_lead_somewhere() -> None:
    assert DOCUMENT.broken_links() == set()


def test_every_figure_is_the_one_in_the_code_and_none_is_left_out() -> None:
    documented = {
        name: tuple(float(part) for part in value.split(",")) for name, value in DOCUMENT.table_rows("constant")
    }
    actual = {name: value for name, value in vars(config).items() if "NETWORKZERO" in name}
    assert documented == {name: value if isinstance(value, tuple) else (value,) for name, value in actual.items()}


def test_all_counters_and_codes_are_documented() -> None:
    package = Path(config.__file__).parent
    link = "".join(
        (package / place).read_text()
        for place in ("core/networkzero.py", "core/networkzero_exports.py", "beacon/links/networkzero.py")
    )
    door = "".join(
        (package / place).read_text() for place in ("core/networkzero_rpc.py", "beacon/doors/networkzero.py")
    )
    counters = set(re.findall(r'counters\["(\w+)"\]|Refused\("(\w+)"', link))
    named = {name.strip("` ") for names, _ in DOCUMENT.table_rows("counter") for name in names.split(",")}
    assert named == {counter or code for counter, code in counters}
    codes = set(re.findall(r'(?:_refuse\(client, |_note\()"(\w+)"|counters\["(\w+)"\]', door))
    assert {code for code, _ in DOCUMENT.table_rows("code")} == {one or other for one, other in codes}


def test_every_request_is_documented() -> None:
    named = re.findall(r'\["(\w+)"', DOCUMENT.text)
    actions = re.findall(r'tag="(\w+)"', Path(nz.__file__).with_name("networkzero_rpc.py").read_text())
    assert set(named) == set(actions)
