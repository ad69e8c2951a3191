"""docs/protocol.md says what the code does: its datagrams, its requests and answers, its figures."""

from __future__ import annotations

import asyncio
import json
import re
from pathlib import Path
from typing import NamedTuple

import pytest

from nwdisco import config
from nwdisco.beacon.doors.control import Connection, ControlDoor
from nwdisco.core import contacts, control, datagrams, directory, lan, peers, telling
from nwdisco.core.advert import Advert
from nwdisco.core.directory import Directory

DOCUMENT = Path(__file__).parent.parent / "docs" / "protocol.md"
TEXT = DOCUMENT.read_text(encoding="utf-8")
HOMES = (config, lan, telling, contacts, peers, datagrams, directory)
"""Where a constant of the document may live, the first that has it."""
NOT_OF_THE_PROTOCOL = {"FOREVER", "SETTINGS", "TYPE_CHECKING", "VERSION"}
NODE = "kX3v_9Qa"
IP = "192.168.1.7"


class Block(NamedTuple):
    kind: str
    """The first word of the info string."""
    size: int | None
    """What `bytes=` in the info string claims of each line."""
    lines: tuple[bytes, ...]
    line_number: int


def _blocks() -> list[Block]:
    found = []
    for match in re.finditer(r"^```(\w+)(?: bytes=(\d+))?\n(.*?)\n```$", TEXT, re.MULTILINE | re.DOTALL):
        kind, size, content = match.groups()
        line_number = TEXT.count("\n", 0, match.start()) + 1
        found.append(Block(kind, int(size) if size else None, tuple(content.encode().split(b"\n")), line_number))
    return found


BLOCKS = _blocks()


def _examples(kind: str) -> list[object]:
    return [
        pytest.param(line, block.size, id=f"line-{block.line_number + 1 + place}")
        for block in BLOCKS
        if block.kind == kind
        for place, line in enumerate(block.lines)
    ]


def _table_rows(first_header: str) -> list[tuple[str, str]]:
    """The first two cells of each row of the tables that begin with such a header."""
    rows = []
    inside = False
    for line in TEXT.splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")] if line.startswith("|") else []
        if not cells:
            inside = False
        elif cells[0] == first_header:
            inside = True
        elif inside and not cells[0].startswith("---"):
            rows.append((cells[0].strip("`"), cells[1]))
    return rows


# --- the document itself ---


def test_every_fenced_block_is_read_as_an_example() -> None:
    assert TEXT.count("\n```") == 2 * len(BLOCKS)
    assert {block.kind for block in BLOCKS} == {"lan", "control", "answer", "greeting", "refused", "status"}


def test_links_within_the_document_lead_somewhere() -> None:
    headings = re.findall(r"^#+ (.*)$", TEXT, re.MULTILINE)
    anchors = {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}
    assert set(re.findall(r"\]\(#([^)]*)\)", TEXT)) <= anchors


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
    settled = {name for name in vars(config) if name.isupper()} - NOT_OF_THE_PROTOCOL
    assert settled - set(documented) == set()


def test_settings_of_the_network_have_the_defaults_that_the_document_gives() -> None:
    defaults = {variable: default for _, variable, default, _ in config.SETTINGS}
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
    with pytest.raises(control.Refused):
        control.decode(line)


def test_members_and_defaults_of_requests_are_the_ones_in_the_code() -> None:
    """The tables under `### advertise` and so on, row by row."""
    for request in control.Request.__args__:
        tag = request.__struct_config__.tag
        section = re.search(rf"^### {tag}\n(.*?)(?=^##)", TEXT, re.MULTILINE | re.DOTALL)
        assert section is not None, f"{tag} has no section"
        rows = dict(re.findall(r"^\| `(\w+)` \|(?:[^|\n]*\|){0,1} ([^|\n]*) \|", section.group(1), re.MULTILINE))
        rows = {name: default for name, default in rows.items() if name != "do" and f"| `{name}` |" in section.group(1)}
        fields = dict.fromkeys(request.__struct_fields__, "none")
        members = {name: default for name, default in rows.items() if name in fields}
        assert set(members) == set(fields), tag
        for name, default in members.items():
            if default == "none":
                assert name in request.__struct_fields__[: _required(request)], name
            else:
                written = default.strip("`")
                expected = config.TTL_S if written == "TTL_S" else json.loads(written)
                assert _default(request, name) == expected, name


def _required(request: type) -> int:
    return len(request.__struct_fields__) - len(request.__struct_defaults__)


def _default(request: type, name: str) -> object:
    """The default of one member, by decoding a request that leaves it out."""
    needed = dict.fromkeys(request.__struct_fields__[: _required(request)], "x")
    decoded = control.decode(json.dumps({"do": request.__struct_config__.tag, **needed}).encode())
    return getattr(decoded, name)


class Wire(asyncio.Transport):
    """The beacon's end of a connection, in memory."""

    def __init__(self) -> None:
        super().__init__()
        self.sent = b""
        self.closed = False

    def write(self, data: bytes) -> None:
        self.sent += data

    def close(self) -> None:
        self.closed = True

    def is_closing(self) -> bool:
        return self.closed

    def get_write_buffer_size(self) -> int:
        return 0

    def lines(self) -> tuple[bytes, ...]:
        return tuple(self.sent.splitlines())


def _connect(door: ControlDoor) -> tuple[Connection, Wire]:
    connection, wire = door.connection(), Wire()
    connection.connection_made(wire)
    connection.data_received(control.GREETING + b"\n")
    return connection, wire


async def _until(wire: Wire, lines: int) -> None:
    for _ in range(1000):
        if len(wire.lines()) >= lines:
            return
        await asyncio.sleep(0.001)
    raise AssertionError(f"{len(wire.lines())} lines instead of {lines}: {wire.sent!r}")


def _comparable(line: bytes) -> object:
    """An answer without what differs from run to run: ages, and words for people."""
    answer = json.loads(line)
    answer.pop("message", None)
    for advert in (*answer.get("adverts", ()), *answer.get("there", ()), *filter(None, (answer.get("advert"),))):
        advert[4] = "age"
    return answer


def test_a_beacon_answers_the_control_examples_as_the_document_says() -> None:
    """All examples in their order, on one connection; the watch on one of its own."""
    asyncio.run(_converse())


async def _converse() -> None:
    loop = asyncio.get_running_loop()
    there = Directory(NODE)
    other = "b1Tq-0Ze"
    there.put(Advert("printer/b", "192.168.1.9:9100", {}, 5.0, other, other, loop.time() - 61.0), loop.time())
    stopped: list[bool] = []
    status = json.loads(next(block.lines[0] for block in BLOCKS if block.kind == "status"))
    door = ControlDoor(
        there,
        own_ip=lambda: IP,
        when_settled=lambda action: action(),
        status=lambda: status,
        stop=lambda: stopped.append(True),
    )
    program, wire = _connect(door)
    assert wire.sent == b""
    spoken = [block for block in BLOCKS if block.kind in ("control", "refused", "answer", "status")]
    for asked, answered in zip(spoken[::2], spoken[1::2], strict=True):
        assert asked.kind in ("control", "refused"), asked.line_number
        assert answered.kind in ("answer", "status"), answered.line_number
        (line,) = asked.lines
        if json.loads(line)["do"] == "watch":
            watcher, heard = _connect(door)
            watcher.data_received(line + b"\n")
            for properties in ({"kind": "laser"}, {"kind": "laser", "paper": "A3"}):
                request = {"do": "advertise", "name": "printer/a", "address": ":52144", "properties": properties}
                program.data_received(json.dumps(request).encode() + b"\n")
            program.data_received(b'{"do":"unadvertise"}\n')
            wire.sent = b""
            await _until(heard, len(answered.lines))
            got = heard.lines()
        else:
            program.data_received(line + b"\n")
            await _until(wire, 1)
            got, wire.sent = wire.lines(), b""
        assert [_comparable(line) for line in got] == [_comparable(line) for line in answered.lines], (
            f"line {answered.line_number} of {DOCUMENT.name}"
        )
        assert [list(json.loads(line)) for line in got] == [list(json.loads(line)) for line in answered.lines]
    assert stopped == [True]


@pytest.mark.parametrize(
    ("greeting", "code"), [(b"nwdisco-control 2", "version"), (b"GET / HTTP/1.1", "bad_request"), (b"", "bad_request")]
)
def test_another_greeting_is_refused_and_the_connection_closed(greeting: bytes, code: str) -> None:
    async def greet() -> None:
        door = ControlDoor(Directory(NODE), lambda: IP, lambda action: action(), dict, lambda: None)
        connection, wire = door.connection(), Wire()
        connection.connection_made(wire)
        connection.data_received(greeting + b"\n")
        assert json.loads(wire.sent)["error"] == code
        assert wire.closed

    asyncio.run(greet())


def test_the_errors_in_the_document_are_the_ones_in_the_code() -> None:
    sources = [Path(module.__file__) for module in (control, __import__(ControlDoor.__module__, fromlist=["_"]))]
    code = "".join(source.read_text(encoding="utf-8") for source in sources)
    assert {name for name, _ in _table_rows("`error`")} == set(re.findall(r'Refused\(\s*"(\w+)"', code))


def test_the_counters_in_the_document_are_the_ones_in_the_code() -> None:
    package = Path(config.__file__).parent
    sources = (package / "core" / "lan.py", package / "beacon" / "links" / "lan.py")
    code = "".join(source.read_text(encoding="utf-8") for source in sources)
    assert {name for name, _ in _table_rows("counter")} == set(re.findall(r'counters\["(\w+)"\]', code))
