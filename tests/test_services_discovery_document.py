"""docs/schema.md and docs/discovery.md say what the layers do: their tables; and their programs show what they say."""

from __future__ import annotations

import inspect
import re

import pytest

from nwdisco.services import Discovery, Pool, schema, strategies
from tests.benchmarks.strategies import POOL, SIZES, STRATEGIES
from tests.documents import Block, Document
from tests.machines import Machine

PAGES = {name: Document(name) for name in ("schema.md", "discovery.md")}
PROGRAMS = [
    pytest.param(program, output, id=f"{name} line {program.line_number}")
    for name, page in PAGES.items()
    for program, output in zip(page.of_kind("python"), page.of_kind("output"), strict=True)
]


@pytest.mark.parametrize("page", PAGES.values(), ids=PAGES)
def test_links_lead_somewhere(page: Document) -> None:
    assert {link for link in page.broken_links() if not link.startswith("discovery.md#")} == set()


def test_the_link_to_the_strategies_leads_there() -> None:
    assert "discovery.md#strategies" in PAGES["schema.md"].text
    assert "\n## Strategies\n" in PAGES["discovery.md"].text


@pytest.mark.parametrize(("program", "output"), PROGRAMS)
def test_a_program_to_copy_shows_what_the_page_says(machine: Machine, program: Block, output: Block) -> None:
    done = machine.python(program.text)
    assert (done.stdout, done.stderr) == (output.text + "\n", "")


@pytest.mark.parametrize(("header", "of"), [("method of a discovery", Discovery), ("method of a pool", Pool)])
def test_every_method_is_documented_as_it_is(header: str, of: type) -> None:
    methods = set()
    for name, method in inspect.getmembers(of, inspect.isfunction):
        if not name.startswith("_"):
            parameters = inspect.signature(method).parameters.values()
            bare = [p.replace(annotation=p.empty) for p in parameters if p.name != "self"]
            methods.add(f"{name}{inspect.Signature(bare)}".replace("'", '"'))
    assert {cell for cell, _ in PAGES["discovery.md"].table_rows(header)} == methods


def test_every_strategy_is_documented() -> None:
    documented = {
        cell.strip('"') for cell, _ in PAGES["discovery.md"].table_rows("strategy")[: len(strategies._BY_NAME)]
    }
    assert documented == set(strategies._BY_NAME)


def test_every_schema_is_documented() -> None:
    classes = {"JsonPerInstance", "PropertyPerKey", "HostPort"}
    assert {cell.partition("(")[0] for cell, _ in PAGES["schema.md"].table_rows("schema")} == classes
    assert all(hasattr(schema, name) for name in classes)


def test_the_words_for_healthy_are_those_of_the_code() -> None:
    (row,) = (said for cell, said in PAGES["discovery.md"].table_rows("strategy") if cell == '"healthy"')
    words = re.findall(r"\w+", row.partition("is missing, or is ")[2].partition(", in any case")[0])
    assert set(words) - {"or"} == strategies.HEALTHY


def test_the_table_of_costs_is_the_benchmark_s() -> None:
    rows = PAGES["discovery.md"].table_rows("strategy")[len(strategies._BY_NAME) :]
    assert [cell for cell, _ in rows] == [*STRATEGIES, POOL]
    for size in SIZES:
        assert f"a pick of {size:,}" in PAGES["discovery.md"].text
