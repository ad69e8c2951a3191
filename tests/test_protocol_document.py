"""docs/protocol.md says what the code does: its datagrams, its requests and answers, its figures.

Its rooms and its seal are held by test_protocol_document_seal.py.
"""

from __future__ import annotations

import inspect
import json
import re
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from nwdisco import config
from nwdisco.beacon.doors.control import ControlDoor
from nwdisco.beacon.loop import Loop
from nwdisco.beacon.process import Beacon
from nwdisco.core import contacts, control, datagrams, directory, lan, peers, sources, telling
from nwdisco.core.advert import Advert
from nwdisco.core.directory import Directory
from nwdisco.core.refused import Refused
from nwdisco.settings import SETTINGS
from tests.documents import DOCS, Document

DOCUMENT = Document("protocol.md")
TEXT, BLOCKS, _table_rows = DOCUMENT.text, DOCUMENT.blocks, DOCUMENT.table_rows
HOMES = (config, lan, telling, contacts, peers, datagrams, directory, sources)
"""Where a constant of the document may live, the first that has it."""
NOT_OF_THE_PROTOCOL = {"FOREVER", "SETTINGS", "TYPE_CHECKING", "VERSION"}
"""What only this implementation knows."""
NODE, OTHER = "kX3v_9Qa", "b1Tq-0Ze"
IP = "192.168.1.7"
LIMIT_S = 10.0
"""How long an answer may take."""


def _examples(kind: str) -> list[object]:
    return [
        pytest.param(line, block.size, id=f"line-{block.line_number + 1 + place}")
        for block in BLOCKS
        if block.kind == kind
        for place, line in enumerate(block.lines)
    ]


# --- the document itself ---


def test_every_fenced_block_is_of_a_kind_that_is_tested() -> None:
    assert {block.kind for block in BLOCKS} == {
        "lan",
        "room",
        "sealed",
        "control",
        "answer",
        "greeting",
        "refused",
        "status",
    }


def test_links_lead_somewhere() -> None:
    assert DOCUMENT.broken_links() == set()


# --- the LAN protocol ---


@pytest.mark.parametrize(("data", "size"), _examples("lan"))
def test_a_datagram_is_decoded_and_encoded_again_to_the_same_bytes(data: bytes, size: int | None) -> None:
    message = datagrams.decode(data)
    assert _encode(message) == data
    assert size is None or len(data) == size


def _encode(message: datagrams.Message) -> bytes:
    if not isinstance(message, datagrams.Change):
        return datagrams.encode(message)
    entries = [datagrams.encode_entry(e.name, e.version, _advert(message.node, e), e.age_s) for e in message.entries]
    return datagrams.encode_change(
        message.node, message.seq, message.place, message.horizon, message.since, message.until, entries
    )


def _advert(node: str, entry: datagrams.Entry) -> Advert | None:
    if entry.address is None:
        return None
    return Advert(
        entry.name,
        entry.address,
        entry.properties,
        entry.ttl_s,
        node,
        node,
        0.0,
        entry.rank,
        picked=entry.address.startswith(":"),
    )


def test_every_kind_of_datagram_has_an_example() -> None:
    shown = {type(datagrams.decode(line)) for block in BLOCKS if block.kind == "lan" for line in block.lines}
    assert shown == set(datagrams.Message.__args__)


def test_more_elements_at_the_end_of_an_example_change_nothing() -> None:
    for block in BLOCKS:
        for line in block.lines if block.kind == "lan" else ():
            assert datagrams.decode(line[:-1] + b',"later",[1]]') == datagrams.decode(line)


@pytest.mark.parametrize(("data", "size"), _examples("lan"))
def test_another_prefix_is_foreign(data: bytes, size: int | None) -> None:
    with pytest.raises(datagrams.Foreign):
        datagrams.decode(b"nw2" + data[3:])


def test_the_table_of_sizes_against_amplification_holds() -> None:
    """Both the bytes that it claims, and that no answer is longer than what led to it."""
    shortest_beat = datagrams.encode(datagrams.Beat(NODE, config.FIRST_SEQUENCE + 1, 0, 0))
    proof = "Zt40_b"
    who = datagrams.encode(datagrams.Who(proof, " " * config.WHO_PADDING_BYTES))
    key = datagrams.encode(datagrams.Key(proof, proof))
    who_all = datagrams.encode(datagrams.Who(proof, " " * config.ARRIVAL_PADDING_BYTES))
    padding = " " * (config.ARRIVAL_PADDING_BYTES - config.WHO_PADDING_BYTES)
    key_to_all = datagrams.encode(datagrams.Key(proof, proof, padding))
    asks = datagrams.encode(datagrams.Ask(proof, 0, 0)) * len(config.RETRY_UNKNOWN_S)
    steps = [(shortest_beat, who), (who, key), (who_all, key_to_all), (key_to_all, asks)]
    table = re.search(r"^\| what comes in .*?\n\|[- |]+\|\n((?:\|.*\n)+)", TEXT, re.MULTILINE)
    assert table is not None
    claimed = [tuple(int(row.split("|")[place]) for place in (2, 4)) for row in table.group(1).splitlines()]
    assert claimed == [(len(came), len(went)) for came, went in steps]
    assert all(came >= went for came, went in claimed)


# --- figures ---


def _figures(text: str) -> tuple[float, ...]:
    return tuple(float(part) for part in text.split(","))


@pytest.mark.parametrize(("name", "value"), _table_rows("constant"))
def test_a_figure_is_the_one_in_the_code(name: str, value: str) -> None:
    home = next((module for module in HOMES if hasattr(module, name)), None)
    assert home is not None, f"{name} is in the document only"
    actual = getattr(home, name)
    assert _figures(value) == (actual if isinstance(actual, tuple) else (actual,))


def test_every_figure_of_the_code_is_in_the_document_once() -> None:
    documented = [name for name, _ in _table_rows("constant")]
    assert len(documented) == len(set(documented))
    settled = {name for name in vars(config) if name.isupper()}
    settled |= {name for home in HOMES for name, value in vars(home).items() if name.isupper() and _is_number(value)}
    others = [page.name for page in DOCS.glob("*.md") if page.name != "protocol.md"]
    on_other_pages = {name for page in others for name, _ in Document(page).table_rows("constant")}
    assert settled - on_other_pages - NOT_OF_THE_PROTOCOL - set(documented) == set()


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def test_settings_of_the_network_have_the_defaults_that_the_document_gives() -> None:
    defaults = {variable: default for _, variable, default, _ in SETTINGS}
    documented = dict(_table_rows("setting"))
    assert set(documented) == {"NWDISCO_PORT", "NWDISCO_GROUP"}
    assert documented == {name: defaults[name] for name in documented}
    assert f"({defaults['NWDISCO_IDLE_S']} s; `NWDISCO_IDLE_S`)" in TEXT


def test_repeats_cover_the_time_that_the_document_gives() -> None:
    assert f"in the last {sum(config.REPEATS_S) + 0.1:.1f} s" in TEXT


# --- the control protocol ---


def test_the_greeting_is_the_one_in_the_code() -> None:
    assert [block.lines for block in BLOCKS if block.kind == "greeting"] == [(control.GREETING,)]


@pytest.mark.parametrize(("line", "size"), _examples("control"))
def test_a_control_request_is_decoded(line: bytes, size: int | None) -> None:
    request = control.decode(line)
    said = json.loads(line)
    assert type(request).__struct_config__.tag == said.pop("do")
    assert said.items() <= {name: getattr(request, name) for name in request.__struct_fields__}.items()


def test_every_control_request_has_an_example() -> None:
    shown = {type(control.decode(line)) for block in BLOCKS if block.kind == "control" for line in block.lines}
    assert shown == set(control.Request.__args__)


@pytest.mark.parametrize(("line", "size"), _examples("refused"))
def test_a_refused_request_is_refused(line: bytes, size: int | None) -> None:
    with pytest.raises(Refused):
        control.decode(line)


@pytest.mark.parametrize("request_type", control.Request.__args__, ids=lambda kind: kind.__name__)
def test_members_and_defaults_of_a_request_are_the_ones_in_the_code(request_type: type[msgspec.Struct]) -> None:
    tag = request_type.__struct_config__.tag
    section = re.search(rf"^### {tag}\n(.*?)(?=^##)", TEXT, re.MULTILINE | re.DOTALL)
    assert section is not None
    table = re.search(r"^\| member .*\n(?:\|.*\n)+", section.group(1), re.MULTILINE)
    rows = re.findall(r"^\| `(\w+)` \| [^|\n]* \| ([^|\n]+?) \|", table.group(), re.MULTILINE) if table else []
    documented = {name: default.strip("`") for name, default in rows}
    assert list(documented) == list(request_type.__struct_fields__)
    needed = [name for name, default in documented.items() if default == "none"]
    assert needed == list(request_type.__struct_fields__[: len(needed)])
    least = control.decode(json.dumps({"do": tag, **dict.fromkeys(needed, ":1")}).encode())
    for name in documented.keys() - needed:
        written = documented[name]
        assert getattr(least, name) == (getattr(config, written) if written.isupper() else json.loads(written))


class Program:
    """A client of the control socket, line by line."""

    def __init__(self, path: Path, greeting: bytes = control.GREETING) -> None:
        self._end = socket.socket(socket.AF_UNIX)
        self._end.settimeout(LIMIT_S)
        self._end.connect(str(path))
        self._lines = self._end.makefile("rb")
        self.say(greeting)

    def say(self, line: bytes) -> None:
        self._end.sendall(line + b"\n")

    def hear(self, lines: int = 1) -> list[bytes]:
        return [self._lines.readline() for _ in range(lines)]

    def close(self) -> None:
        self._lines.close()
        self._end.close()


@pytest.fixture
def door(place: Path) -> Iterator[Path]:
    """The socket of a control door that serves the directory of the examples."""
    loop = Loop()
    there = Directory(NODE)
    there.put(Advert("printer/b", "192.168.1.9:9100", {}, 5.0, OTHER, OTHER, loop.time() - 61.0), loop.time())
    status = json.loads(next(block.lines[0] for block in BLOCKS if block.kind == "status"))
    path = place / "beacon.sock"
    door = ControlDoor(loop, there, lambda: IP, lambda action: action(), lambda: status, loop.stop)
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(path))
        listening.listen()
        loop.serve(listening, door.connection)
        thread = threading.Thread(target=loop.run, daemon=True)
        thread.start()
        yield path
        if thread.is_alive():
            Program(path).say(b'{"do":"stop"}')
        thread.join(LIMIT_S)
        assert not thread.is_alive()
        door.close()


def _comparable(line: bytes) -> object:
    """An answer without what differs from run to run: ages, and words for people."""
    answer = json.loads(line)
    answer.pop("message", None)
    if "node" not in answer:  # a status counts its adverts
        for advert in [*answer.get("adverts", ()), *answer.get("there", ()), answer.get("advert", [0] * 5)]:
            advert[4] = "age"
    return answer


def test_a_beacon_answers_the_control_examples_as_the_document_says(door: Path) -> None:
    """All examples in their order, on one connection; the watch on one of its own."""
    program, watcher = Program(door), Program(door)
    spoken = [block for block in BLOCKS if block.kind in ("control", "refused", "answer", "status")]
    at = next(place for place, block in enumerate(spoken) if block.lines == (b'{"do":"stop"}',))
    spoken = spoken[:at] + spoken[at + 2 :] + spoken[at : at + 2]  # errors come after it in the document
    for asked, answered in zip(spoken[::2], spoken[1::2], strict=True):
        assert asked.kind in ("control", "refused"), f"line {asked.line_number}"
        assert answered.kind in ("answer", "status"), f"line {answered.line_number}"
        (line,) = asked.lines
        if json.loads(line)["do"] == "watch":
            watcher.say(line)
            got = watcher.hear()
            for properties in ({"kind": "laser"}, {"kind": "laser", "paper": "A3"}):
                request = {"do": "advertise", "name": "printer/a", "address": ":52144", "properties": properties}
                program.say(json.dumps(request).encode())
            program.say(b'{"do":"unadvertise"}')
            program.hear(3)
            got += watcher.hear(len(answered.lines) - 1)
        else:
            program.say(line)
            got = program.hear()
        assert [_comparable(line) for line in got] == [_comparable(line) for line in answered.lines], (
            f"line {answered.line_number} of protocol.md"
        )
    program.close()
    watcher.close()


@pytest.mark.parametrize(
    ("greeting", "code"), [(b"nwdisco-control 2", "version"), (b"GET / HTTP/1.1", "bad_request"), (b"", "bad_request")]
)
def test_another_greeting_is_refused_and_the_connection_closed(door: Path, greeting: bytes, code: str) -> None:
    program = Program(door, greeting)
    answer, end = program.hear(2)
    assert json.loads(answer)["error"] == code
    assert end == b""
    program.close()


def test_adverts_go_with_the_connection_that_made_them(door: Path) -> None:
    maker, watcher = Program(door), Program(door)
    watcher.say(b'{"do":"watch"}')
    watcher.hear()
    maker.say(b'{"do":"advertise","name":"a","address":":1"}')
    maker.hear()
    maker.close()
    assert [json.loads(line)["event"] for line in watcher.hear(2)] == ["joined", "left"]
    watcher.close()


def test_the_example_of_a_status_has_the_members_of_the_beacons() -> None:
    example = json.loads(next(block.lines[0] for block in BLOCKS if block.kind == "status"))
    members = {*example, *example["interfaces"][0], *example["nodes"][0], *example["strangers"][0]}
    code = inspect.getsource(Beacon.status) + inspect.getsource(sources.Strangers.status)
    assert members == set(re.findall(r'"(\w+)":', code))


def test_the_errors_in_the_document_are_the_ones_in_the_code() -> None:
    package = Path(config.__file__).parent
    files = (package / "core" / "control.py", package / "beacon" / "doors" / "control.py")
    code = "".join(file.read_text(encoding="utf-8") for file in files)
    assert {name for name, _ in _table_rows("`error`")} == set(re.findall(r'Refused\(\s*"(\w+)"', code))


def test_the_counters_in_the_document_are_the_ones_in_the_code() -> None:
    package = Path(config.__file__).parent
    files = (package / "core" / "lan.py", package / "core" / "sealed.py", package / "beacon" / "links" / "lan.py")
    code = "".join(file.read_text(encoding="utf-8") for file in files)
    assert {name for name, _ in _table_rows("counter")} == set(re.findall(r'counters\["(\w+)"\]', code))
