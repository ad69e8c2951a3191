"""docs/messages.md says what the messenger does: its figures, its links; its programs run in tests/test_cookbook.py."""

from __future__ import annotations

from nwdisco import config
from tests.documents import Document

DOCUMENT = Document("messages.md")
WORDS = ("MESSAGE_", "NEWS_", "LAST_WORDS_S", "WATCH_OVER_S")


def test_links_lead_somewhere() -> None:
    assert DOCUMENT.broken_links() == set()


def test_every_figure_is_the_one_in_the_code_and_none_is_left_out() -> None:
    documented = {name: float(value) for name, value in DOCUMENT.table_rows("constant")}
    figures = {name: value for name, value in vars(config).items() if any(word in name for word in WORDS)}
    assert documented == {
        name: value for name, value in figures.items() if "SHIM" not in name and "NETWORKZERO" not in name
    }
