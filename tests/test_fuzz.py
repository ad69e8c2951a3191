"""The decoders against bytes that nobody thought of: no error but a refusal, no bound passed, the same answers in any pieces.

A little of it, in each run of the suite; `python -m tests.fuzz` does millions. Below, every fault that was found so.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from random import Random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nwdisco import config
from nwdisco.beacon.doors.shim import ShimDoor
from nwdisco.core import etcd
from nwdisco.core.contacts import Contacts
from nwdisco.core.directory import Directory
from nwdisco.core.refused import Refused
from tests.fuzz.__main__ import Result, table
from tests.fuzz.hunt import Crash, Hunt, at_random, saved
from tests.fuzz.ledger import Ledger
from tests.fuzz.limits import SMALL, small
from tests.fuzz.mutations import MAX_BYTES, TOKEN, mutate
from tests.fuzz.rules import check_directory
from tests.fuzz.script import script, steps
from tests.fuzz.targets import BY_NAME, TARGETS, Target
from tests.fuzz.wire import Clock, Pipe
from tests.networkzero_desk import Desk

ROOT = Path(__file__).parent.parent

every_target = pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.name)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=12),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=8,
)


def with_another_value(sample: bytes, place: int, value: object) -> bytes:
    """The sample with any JSON in place of one of its values."""
    tokens = [match.span() for match in TOKEN.finditer(sample)] or [(0, 0)]
    begin, end = tokens[place % len(tokens)]
    return sample[:begin] + json.dumps(value).encode() + sample[end:]


def inputs(target: Target) -> st.SearchStrategy[bytes]:
    """Any bytes; samples with some of their bytes changed; samples with any JSON in the place of a value; several in a row."""
    samples = st.sampled_from(target.samples)
    changed = st.builds(lambda sample, seed: mutate(sample, Random(seed), target.samples), samples, st.integers(0))
    replaced = st.builds(with_another_value, samples, st.integers(0, 200), json_values)
    one = st.binary(max_size=300) | changed | replaced
    return one | st.lists(one, min_size=2, max_size=4).map(b"\xff".join)


@every_target
def test_every_sample_is_served(target: Target) -> None:
    for sample in target.samples:
        target.run(sample)


@every_target
def test_whatever_comes_nothing_but_a_refusal_comes_of_it(target: Target) -> None:
    @settings(max_examples=120, suppress_health_check=list(HealthCheck))
    @given(inputs(target))
    def run(data: bytes) -> None:
        target.run(data)

    run()


# --- the command ------------------------------------------------------------------------------------------


def hunt(target: Target, folder: Path, count: int) -> int:
    """So many inputs; how many the ledger has."""
    at_random(Hunt(target, Ledger(folder / "ledger"), folder, count, None), seed=1)
    return Ledger(folder / "ledger").read()[0]


def test_a_fault_is_kept_once_with_a_short_input_that_shows_it_and_the_hunt_goes_on(place: Path) -> None:
    def run(data: bytes) -> None:
        if b"x" in data:
            raise ValueError("an x")
        if not data:
            raise ValueError("nothing")

    target = Target("faulty", run, (b'{"x":1}', b'["y"]'))
    assert hunt(target, place, 3000) == 3000
    crashes = saved(place)
    assert sorted(crash.text.splitlines()[-1] for crash in crashes) == [
        "ValueError: an x",
        "ValueError: nothing",
    ]
    assert all(len(crash.data) < len(b'{"x":1}') for crash in crashes)
    for crash in crashes:
        with pytest.raises(ValueError, match=r"^(an x|nothing)$"):
            run(crash.data)


def test_the_last_input_is_known_whatever_becomes_of_the_process(place: Path) -> None:
    def run(data: bytes) -> None:
        if len(data) > 9:
            raise SystemExit  # as near to a crash of the interpreter as a test should get

    with pytest.raises(SystemExit):
        hunt(Target("deadly", run, (b"short", b"much longer")), place, 100)
    assert Ledger(place / "ledger").read() == (2, b"much longer")


def test_the_command_counts_every_input_and_ends_with_a_table(place: Path) -> None:
    chosen = ["--target", "message", "--target", "lan-datagram", "--engine", "random", "--inputs", "300"]
    command = [sys.executable, "-m", "tests.fuzz", *chosen, "--save", str(place / "crashes")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    rows = [
        [cell.strip() for cell in line.split("|")[1:-1]] for line in done.stdout.splitlines() if line.startswith("|")
    ]
    assert rows[0] == ["Target", "Engine", "Inputs", "Seconds", "Crashes"]
    assert [(row[0], row[1], row[2], row[4]) for row in rows[2:]] == [
        ("message", "random", "300", "0"),
        ("lan-datagram", "random", "300", "0"),
        ("all", "", "600", "0"),
    ]
    assert list((place / "crashes").iterdir()) == []


def test_the_table_adds_up() -> None:
    crash = Crash("b", b"x", "why")
    results = [Result("a", "random", 1000, 1.0, []), Result("b", "random", 2345, 2.0, [crash])]
    assert table(results).endswith("| b | random | 2,345 | 2 | 1 |\n| all | | 3,345 | 3 | 1 |")


def test_mutations_are_the_same_each_time_and_within_the_length() -> None:
    for target in TARGETS:
        for seed in range(50):
            once = mutate(target.samples[0], Random(seed), target.samples)
            assert once == mutate(target.samples[0], Random(seed), target.samples)
            assert len(once) <= MAX_BYTES


def test_a_script_is_cut_into_the_steps_that_it_was_made_of() -> None:
    assert steps(script((3, b"a"), (0, b""), (255 - 1, b"b"))) == [(3, b"a"), (0, b""), (254, b"b")]


def test_the_limits_are_small_for_a_while_only() -> None:
    real = {name: getattr(config, name) for name in SMALL}
    with small():
        assert {name: getattr(config, name) for name in SMALL} == SMALL
    assert {name: getattr(config, name) for name in SMALL} == real


# --- faults that the fuzzer found -------------------------------------------------------------------------


def test_found_1_addresses_that_come_and_go_are_forgotten_even_where_as_many_peers_as_can_be_were_heard_first() -> None:
    """With MAX_NODES peers as the oldest contacts, none was forgotten, and each round of strangers left one more."""
    contacts = Contacts(bytes(16), lambda address: address[0] == "10.0.0.1")
    for port in range(config.MAX_NODES):
        contacts.heard(("10.0.0.1", port), 1)
    for number in range(3 * config.MAX_CONTACTS):
        contacts.heard(("10.66.0.1", number), 1)
        assert len(contacts) <= config.MAX_CONTACTS, f"{len(contacts)} after {number + 1} strangers"
    assert all(contacts.get(("10.0.0.1", port)) for port in range(config.MAX_NODES)), "a peer was forgotten"


def test_found_2_a_request_behind_one_that_waits_is_answered_after_it_where_a_turn_ends_between_them() -> None:
    """The request that waited was the last of its turn, and what was behind it got the next turn."""
    clock, directory = Clock(), Directory("node-own")
    later: list[Callable[[], None]] = []
    door = ShimDoor(clock.loop, directory, lambda: "10.0.0.1", later.append)
    pipe = Pipe(clock, door.connection(), config.MAX_SHIM_MESSAGE)
    short = b'{"type":"heartbeat","key":"nobody"}\n'
    pipe.send(short * (config.SHIM_REQUESTS_AT_ONCE - 1) + b'{"type":"query","key":"all"}\n' + short)
    clock.run()  # the LAN's adverts are not known yet
    for action in later:
        action()
    clock.run()
    answers = [json.loads(line) for line in bytes(pipe.answers).splitlines()]
    assert ["services" in answer for answer in answers] == [False] * (config.SHIM_REQUESTS_AT_ONCE - 1) + [True, False]


def test_found_3_a_message_has_its_time_from_its_own_beginning_whatever_was_refused_before_it() -> None:
    """Behind a request that was refused, the clock of the one before it went on."""
    clock = Clock()
    door = ShimDoor(clock.loop, Directory("node-own"), lambda: "10.0.0.1", lambda action: action())
    pipe = Pipe(clock, door.connection(), config.MAX_SHIM_MESSAGE)
    pipe.send(b"{")
    clock.run(config.SHIM_MESSAGE_S - 2)
    pipe.send(b'\n{"type":"query",')
    clock.run(config.SHIM_MESSAGE_S - 2)
    pipe.send(b'"key":"all"}\n')
    assert [json.loads(line)["ok"] for line in bytes(pipe.answers).splitlines()] == [False, True]


def test_found_4_what_is_taken_from_networkzero_can_be_told_to_every_other_node() -> None:
    """ "127.:9" is told as that machine's own IP and ":9". Where that is longer than an address may be, no node reads ours."""
    desk = Desk()
    for data in (b'["x","127.:' + b"9" * 241 + b'",9]', b'["y","127.:80",9]'):
        desk.hear(data, "192.168.100.100")
        check_directory(desk.directory, desk.now)
    there = desk.directory.get("y")
    assert there is not None
    assert there.address == "192.168.100.100:80"


@pytest.mark.parametrize("port", ["00006553599934", "000000080", "65536", "0", "000000000"])
def test_found_5_a_port_of_many_digits_is_none(port: str) -> None:
    """Only the first nine digits were looked at."""
    with pytest.raises(Refused):
        etcd.decode_plain(b"Hello/1", b"host:" + port.encode())


INPUTS_FOUND: list[tuple[str, bytes]] = [
    (
        "lan-node",
        b"\xff".join(b'%cnw1["beat","node-x%02d",10000,0,0]' % (16 + number, number) for number in range(1, 8)),
    ),
    (
        "shim-door",
        b"\x00"
        + b'{"action":"register","type":"a","ip":"1.1.1.1","port":1}\n' * 2
        + b'{"action":"query","type":"a"}\n' * 2
        + b"@\n",
    ),
    ("shim-door", b'\x0e{\xff\x0e\n"'),
    ("networkzero-link", b'\x01["x","127.:' + b"9" * 241 + b'",9]'),
    ("etcd-value", b"Hello/7587\x00host:12:00006553599934"),
]


@pytest.mark.parametrize(("target", "data"), INPUTS_FOUND, ids=[name for name, _ in INPUTS_FOUND])
def test_the_inputs_that_showed_them_are_served(target: str, data: bytes) -> None:
    BY_NAME[target].run(data)
