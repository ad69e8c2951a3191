"""docs/shim.md says what the shim does: its sessions, its figures, its programs; and the programs run."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from nwdisco import config
from nwdisco.core import framed
from nwdisco.core.refused import Refused
from nwdisco.settings import SETTINGS
from tests.documents import Document
from tests.machines import DEADLINE_S, Machine, wait_until
from tests.shim import Shim

DOCUMENT = Document("shim.md")
EXAMPLES = Path(__file__).parent.parent / "examples"
UUID = "640da76b-b2e3-4f39-8c1d-2f4b6f1c9a70"
"""The one of the document; a beacon makes others."""


def needs(*tools: str) -> pytest.MarkDecorator:
    missing = [tool for tool in tools if shutil.which(tool) is None]
    return pytest.mark.skipif(bool(missing), reason=f"this machine has no {' and no '.join(missing)}")


@pytest.fixture
def shim(machine: Machine) -> Iterator[Shim]:
    shim = Shim(machine)
    yield shim
    shim.end()


def test_links_lead_somewhere() -> None:
    assert DOCUMENT.broken_links() == set()


def test_every_figure_is_the_one_in_the_code_and_none_is_left_out() -> None:
    documented = {name: float(value) for name, value in DOCUMENT.table_rows("constant")}
    assert documented == {name: value for name, value in vars(config).items() if "SHIM" in name}


def test_the_default_address_is_the_one_of_the_settings() -> None:
    defaults = {variable: default for _, variable, default, _ in SETTINGS}
    assert f"Every beacon opens the shim at {defaults['NWDISCO_SHIM']}," in DOCUMENT.text


def test_the_session_in_lines_goes_as_the_document_says(shim: Shim) -> None:
    (block,) = DOCUMENT.of_kind("lines")
    uuid = UUID
    with shim.wire() as wire:
        for request, answer in zip(block.lines[::2], block.lines[1::2], strict=True):
            wire.send(request.replace(UUID.encode(), uuid.encode()) + b"\n")
            line = wire.raw_line()
            uuid = json.loads(line).get("uuid", uuid)
            assert line.replace(uuid.encode(), UUID.encode()) == answer + b"\r\n"


def test_the_framed_session_goes_as_the_document_says(shim: Shim) -> None:
    (block,) = DOCUMENT.of_kind("framed")
    uuid = UUID
    for request, answer in zip(block.lines[::2], block.lines[1::2], strict=True):
        content = shim.framed(request.replace(UUID.encode(), uuid.encode())).content
        if b"register" in request and len(content) == len(UUID):
            uuid = content.decode()
        assert content.replace(uuid.encode(), UUID.encode()) == answer


def test_the_whole_framed_answer_is_byte_for_byte_the_document_s(monkeypatch: pytest.MonkeyPatch) -> None:
    (block,) = DOCUMENT.of_kind("answer")
    monkeypatch.setattr(sys, "byteorder", "little")
    refused = Refused("bad_request", "the port 66554 is out of range: give one from 1 to 65535")
    assert framed.Framed().encode_refusal(refused) == b"\x00\xa4" + block.lines[0]


def test_all_codes_of_refusals_are_documented() -> None:
    core = Path(framed.__file__).parent
    door = core.parent / "beacon" / "doors" / "shim_client.py"
    source = "".join(
        file.read_text() for file in (core / "shim.py", core / "registrations.py", core / "lines.py", door)
    )
    used = set(re.findall(r'(?:Refused|Broken)\(\s*"(\w+)"', source))
    assert {code for code, _ in DOCUMENT.table_rows("code")} == used


@pytest.mark.parametrize(
    ("kind", "name"), [("python", "shim_lines.py"), ("js", "shim_node.mjs"), ("sh", "shim_shell.sh")]
)
def test_the_programs_to_copy_are_the_examples(kind: str, name: str) -> None:
    assert (EXAMPLES / name).read_text().rstrip("\n") in [block.text for block in DOCUMENT.of_kind(kind)]


@contextmanager
def running(*command: str) -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, process_group=0
    ) as process:
        try:
            yield process
        finally:
            os.killpg(process.pid, signal.SIGKILL)


@pytest.mark.parametrize(
    ("program", "name", "one_address"),
    [
        ((sys.executable, "shim_lines.py"), "lamp/python", True),
        ((sys.executable, "shim_framed.py"), "lamp/", True),
        pytest.param(("node", "shim_node.mjs"), "lamp/node", True, marks=needs("node")),
        pytest.param(("sh", "shim_shell.sh"), "lamp/shell", False, marks=needs("nc")),
    ],
)
def test_an_example_registers_itself_and_shows_who_is_there(
    shim: Shim, program: tuple[str, str], name: str, one_address: bool
) -> None:
    host, port = shim.address
    where = [f"{host}:{port}"] if one_address else [host, str(port)]
    with running(program[0], str(EXAMPLES / program[1]), *where) as process:
        wait_until(lambda: any(there.startswith(name) for there in shim.machine.names()), f"{name} by {program[1]}")
        assert process.stdout is not None
        over = threading.Timer(DEADLINE_S, process.kill)
        over.start()
        shown = ""
        while "192.168.1.7" not in shown:
            line = process.stdout.readline()
            assert line, f"it ended, or was ended after {DEADLINE_S} s, having shown {shown!r}"
            shown += line
        over.cancel()


@needs("nc")
def test_the_commands_for_netcat_do_what_the_document_says(shim: Shim) -> None:
    host, port = shim.address
    (block,) = (block for block in DOCUMENT.of_kind("sh") if block.lines[0].startswith(b"printf"))
    commands = block.text.replace("127.0.0.1 65432", f"{host} {port}")
    done = subprocess.run(["sh", "-c", commands], capture_output=True, text=True, timeout=20)
    first, second = done.stdout.splitlines()
    assert json.loads(first) == {"ok": True}
    assert [service["values"] for service in json.loads(second)["services"]] == ["192.168.1.7:8080"]


@needs("nc")
def test_the_session_of_the_readme_registers_queries_and_takes_back(shim: Shim) -> None:
    readme = Path(__file__).parent.parent.joinpath("README.md").read_text()
    (block,) = (block for block in re.findall(r"```sh\n(.*?)```", readme, re.DOTALL) if block.startswith("ask()"))
    host, port = shim.address
    shim.machine.program().call("advertise", "printer/a", "192.168.1.9:80")
    done = subprocess.run(
        ["sh", "-c", block.replace("127.0.0.1 65432", f"{host} {port}")], capture_output=True, timeout=20
    )
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    assert [answer["ok"] for answer in answers] == [True] * 4
    found = [[service["values"] for service in answer.get("services", [])] for answer in answers]
    assert found == [[], ["192.168.1.7:8080"], ["192.168.1.9:80"], []]
    assert shim.machine.names() == ["printer/a"]
