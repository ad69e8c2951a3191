"""The README's programs: each is complete, and that of services with many instances does what it says."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tests.machines import Machine

README = (Path(__file__).parent.parent / "README.md").read_text(encoding="utf-8")
PROGRAMS = re.findall(r"```python\n(.*?)```", README, re.DOTALL)


class Printer(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(201)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Nobody reads it."""


@pytest.fixture
def printer() -> Iterator[int]:
    """The port of an HTTP service."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Printer) as server:
        serving = threading.Thread(target=server.serve_forever)
        serving.start()
        yield server.server_address[1]
        server.shutdown()
        serving.join()


@pytest.mark.parametrize("program", PROGRAMS)
def test_every_program_is_complete(program: str) -> None:
    assert re.search(r"^(import|from) ", program, re.MULTILINE)
    compile(program, "README.md", "exec")


def test_one_of_a_service_s_instances_is_found_and_called(machine: Machine, printer: int) -> None:
    [program] = [program for program in PROGRAMS if "ServiceClient" in program]
    machine.program().call("advertise", "printer/a", f"127.0.0.1:{printer}")
    done = machine.python(program)
    assert done.stderr == ""
    assert done.stdout.splitlines() == [f"http://127.0.0.1:{printer}", "201"]


def test_its_links_lead_somewhere() -> None:
    for link in re.findall(r"\]\(([^):#]*)\)", README):
        assert (Path(__file__).parent.parent / link).exists(), link
