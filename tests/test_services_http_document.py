"""docs/http.md says what the HTTP layer does: its programs run, its tables are the code's."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from math import prod
from pathlib import Path

import httpx
import pytest

from nwdisco.errors import AddressError
from nwdisco.services import AsyncServiceClient, ServiceClient
from nwdisco.services.retrying import FAILURES, IDEMPOTENT, SAME_INSTANCE, may_repeat
from tests.cookbook.running import Running
from tests.documents import Document
from tests.machines import Machine

DOCUMENT = Document("http.md")
EXAMPLES = Path(__file__).parent.parent / "examples"
ON_THE_LAN, IN_MEMORY, FOR_ASYNCIO = (block.text for block in DOCUMENT.of_kind("python"))


def rows(first_header: str) -> Iterator[list[str]]:
    """The rows of the table that begins with this header, cell by cell."""
    (table,) = re.findall(rf"^\| {first_header} \|.*\n\|[ |-]*\n((?:\|.*\n)+)", DOCUMENT.text, re.MULTILINE)
    for line in table.splitlines():
        yield [cell.strip() for cell in line.split("|")[1:-1]]


def test_links_lead_somewhere() -> None:
    assert DOCUMENT.broken_links() == set()


@pytest.fixture
def services(machine: Machine) -> Machine:
    """As the page says, two services."""
    for name in "ab":
        Running(machine, EXAMPLES / "hello_service.py", name).shows(f"hello/{name} is at .*")
    return machine


def test_the_program_to_copy_asks_each_in_turn(services: Machine) -> None:
    done = services.python(ON_THE_LAN)
    assert done.stderr == ""
    assert sorted(done.stdout.splitlines()) == ["200 hello from a"] * 2 + ["200 hello from b"] * 2


def test_the_one_for_asyncio_does_as_well(services: Machine) -> None:
    done = services.python(FOR_ASYNCIO)
    assert done.stderr == ""
    assert done.stdout == "['hello from a', 'hello from a', 'hello from b', 'hello from b']\n"


def test_the_one_without_a_network_is_told_that_nobody_is_there(machine: Machine) -> None:
    done = machine.python(IN_MEMORY)
    assert done.stderr == ""
    assert re.fullmatch(
        r"Not printed: tried printer/\w+ \(http://127.0.0.1:9\): ConnectError; there is no other instance\n",
        done.stdout,
    )


def test_what_is_made_again_is_what_the_table_says() -> None:
    errors: set[type[Exception]] = set()
    says = {"yes": True, "no": False}
    for _, names, idempotent, others, same_instance in rows("what went wrong"):
        for name in re.findall(r"`(\w+)`", names):
            error = AddressError if name == "AddressError" else getattr(httpx, name)
            errors.add(error)
            failed = FAILURES.get(error)
            again = [failed is not None and may_repeat(failed, method, None, True) for method in ("GET", "POST")]
            assert again == [says[idempotent], says[others]], name
            assert (failed is not None and SAME_INSTANCE[failed]) is says[same_instance], name
    assert set(FAILURES) <= errors
    (idempotent,) = re.findall(r"Idempotent methods are ([A-Z, and]+) \(RFC", DOCUMENT.text)
    assert set(re.findall("[A-Z]+", idempotent)) == IDEMPOTENT


@pytest.mark.parametrize("client", [ServiceClient, AsyncServiceClient])
def test_the_settings_are_those_of_both_clients(client: type) -> None:
    documented = {name.strip("`"): default.strip('"') for name, default, _ in rows("argument")}
    parameters = inspect.signature(client).parameters.values()
    assert documented == {
        parameter.name: str(parameter.default) for parameter in parameters if parameter.kind is parameter.KEYWORD_ONLY
    }


def test_the_gateway_s_figures_are_those_of_its_program() -> None:
    program = (EXAMPLES / "gateway.py").read_text()
    for name, value, _ in rows("constant"):
        (figure,) = re.findall(rf"^{name.strip('`')} = ([\d *]+?) +#", program, re.MULTILINE)
        assert prod(int(factor) for factor in figure.split("*")) == int(value), name
