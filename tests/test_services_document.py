"""docs/services.md says what to use when: its figures and links; and its program shows what the page says."""

from __future__ import annotations

import re

from nwdisco import config
from nwdisco.services.registry import MAX_VALUE_BYTES
from tests.documents import DOCS, Document
from tests.etcd import Etcd
from tests.machines import Machine

DOCUMENT = Document("services.md")
THERE = "127.0.0.1:2379"
"""The document's etcd; the test's is on another port."""


def test_links_lead_somewhere() -> None:
    on_other_pages = {link for link in re.findall(r"\]\(([^):]*)\)", DOCUMENT.text) if "#" in link}
    assert DOCUMENT.broken_links() == set()
    for link in on_other_pages:
        page, _, heading = link.partition("#")
        headings = re.findall(r"^#+ (.*)$", (DOCS / page).read_text(), re.MULTILINE)
        assert heading in {title.lower().replace(" ", "-") for title in headings}


def test_every_layer_s_page_is_linked() -> None:
    assert {"registry.md", "schema.md", "discovery.md", "http.md", "etcd.md"} <= set(
        re.findall(r"\w+\.md", DOCUMENT.text)
    )


def test_the_figures_are_those_of_the_code() -> None:
    assert f"within {config.TTL_S:.0f} s" in DOCUMENT.text
    assert f"{config.MAX_PROPERTIES_BYTES} bytes of properties" in DOCUMENT.text
    assert f"{MAX_VALUE_BYTES // 1024} KB a value" in DOCUMENT.text


def test_the_program_to_copy_shows_what_the_page_says(machine: Machine, etcd: Etcd) -> None:
    (settings,), (program,), (output,) = (DOCUMENT.of_kind(kind) for kind in ("sh", "python", "output"))
    for setting in settings.text.removeprefix("export ").split():
        name, _, value = setting.partition("=")
        machine.env[name] = value.replace(THERE, etcd.address)
    done = machine.python(program.text.replace(THERE, etcd.address))
    assert (done.stdout, done.stderr) == (output.text + "\n", "")
