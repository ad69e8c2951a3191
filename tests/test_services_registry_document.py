"""docs/registry.md says what a registry does: its methods, its figures; and its programs run and show what the page says."""

from __future__ import annotations

import inspect
import subprocess
import sys
from pathlib import Path

import pytest

from nwdisco import errors
from nwdisco.services import memory, registry
from tests.documents import Block, Document

DOCUMENT = Document("registry.md")
PROGRAMS = [
    block for block in DOCUMENT.of_kind("python") if block.text.splitlines()[0].startswith(("import ", "from "))
]


def methods(of: type) -> set[str]:
    """Those that are public, as the page writes them: with names and defaults of their parameters, without types."""
    found = set()
    for name, method in inspect.getmembers(of, inspect.isfunction):
        if not name.startswith("_"):
            signature = inspect.signature(method)
            bare = [p.replace(annotation=p.empty) for p in signature.parameters.values() if p.name != "self"]
            found.add(f"{name}{inspect.Signature(bare)}".replace("'", '"'))
    return found


def test_links_lead_somewhere() -> None:
    assert DOCUMENT.broken_links() == set()


@pytest.mark.parametrize(
    ("header", "of"), [("method", registry.Registry), ("of a lease", registry.Lease), ("of a watch", registry.Watch)]
)
def test_every_method_is_documented_as_it_is(header: str, of: type) -> None:
    documented = {cell for cell, _ in DOCUMENT.table_rows(header)}
    assert {cell for cell in documented if "(" in cell} == methods(of)
    assert {cell for cell in documented if "(" not in cell} == set(inspect.get_annotations(of))


def test_every_figure_is_the_one_in_the_code_and_none_is_left_out() -> None:
    documented = {name: int(value) for name, value in DOCUMENT.table_rows("constant")}
    figures = vars(registry) | vars(memory)
    assert documented == {name: value for name, value in figures.items() if name.startswith(("MAX_", "MIN_"))}


def test_every_error_of_a_registry_is_documented() -> None:
    ours = [error for error in errors.RegistryError.__subclasses__() if error.__module__ == errors.__name__]
    tree: set[type[Exception]] = {errors.RegistryError, *ours}
    assert {name for name, _ in DOCUMENT.table_rows("error")} == {error.__name__ for error in tree}


@pytest.mark.parametrize(
    ("program", "output"),
    list(zip(PROGRAMS, DOCUMENT.of_kind("output"), strict=True)),
    ids=lambda block: f"line {block.line_number}",
)
def test_a_program_to_copy_shows_what_the_page_says(program: Block, output: Block) -> None:
    done = subprocess.run([sys.executable, "-c", program.text], capture_output=True, text=True, timeout=60)
    assert (done.stdout, done.stderr) == (output.text + "\n", "")


def test_the_tests_of_a_third_store_are_those_of_the_store_in_memory() -> None:
    tests = Path(__file__).with_name("test_services_memory.py").read_text()
    (example,) = (block.text for block in DOCUMENT.of_kind("python") if "(RegistryContract)" in block.text)
    assert example in tests
