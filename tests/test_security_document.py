"""docs/security.md says what the code does: its commands, its limits; and what the seal still allows is what the page says."""

from __future__ import annotations

import os
import re
import stat
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from nwdisco import config
from nwdisco.core import contacts, datagrams, lan, peers, secret, sources, telling
from nwdisco.core.contacts import Address
from nwdisco.core.sealed import CHALLENGE, DATA, MAX_ASKED, NO_NONCE, RESPONSE, SealedWire
from nwdisco.core.secret import lan_key
from nwdisco.core.wire import Stranger
from tests.documents import Document
from tests.machines import Machine

DOCUMENT = Document("security.md")
HOMES = (config, lan, telling, contacts, datagrams, sources)
"""Where a limit of the page may live, the first that has it."""
KEY = b"k" * 32
BEAT = b'nw1["beat","AbCdEfGh",10000,5,5]'
A: Address = ("10.0.0.1", 1001)
B: Address = ("10.0.0.2", 1002)


def wire(node: str) -> SealedWire:
    return SealedWire(KEY, "", node, Counter(), 0.0)


def said(by: SealedWire) -> list[bytes]:
    """What it answers by now."""
    answers = [data for data, _ in by.outbox]
    by.outbox.clear()
    return answers


def meet(a: SealedWire, b: SealedWire, now: float = 0.0) -> None:
    """Until neither has anything more to say."""
    b.open(a.seal(BEAT), A, now)
    for _ in range(4):
        for one, other, source in ((b, a, B), (a, b, A)):
            for data in said(one):
                other.open(data, source, now)
    assert b.open(a.seal(BEAT), A, now) == BEAT


# --- the page ---


def test_links_lead_somewhere() -> None:
    assert DOCUMENT.broken_links() == set()


def test_every_fenced_block_is_of_a_kind_that_is_tested() -> None:
    assert [block.kind for block in DOCUMENT.blocks] == ["secret", "profile", "sh"]


def test_the_commands_make_a_secret_that_nobody_else_reads_and_the_beacon_has_it(machine: Machine) -> None:
    home = machine.runtime_dir.parent / "home"
    home.mkdir()
    (make,), (profile,) = DOCUMENT.of_kind("secret"), DOCUMENT.of_kind("profile")
    tools = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    env = {**machine.env, "HOME": str(home), "PATH": tools}
    shown = subprocess.run(
        ["sh", "-euc", f"{make.text}\n{profile.text}\necho $NWDISCO_SECRET_FILE"],
        env=env,
        capture_output=True,
        text=True,
        timeout=60,
    )
    path = Path(shown.stdout.strip())
    assert path.is_relative_to(home), shown.stderr
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert len(path.read_text().strip()) == 16
    machine.env["NWDISCO_SECRET_FILE"] = str(path)
    machine.call("discover_all")
    assert "has_secret: True\n" in machine.command("status").stdout


def test_figures_in_the_text_are_the_ones_in_the_code() -> None:
    text = DOCUMENT.text
    assert f"{config.MIN_SECRET} characters is refused" in text.replace("\n  than", "").replace("than ", "")
    assert f"`ROUNDS` ({secret.ROUNDS:,})" in text
    assert f"`LATE_S` ({peers.LATE_S:g} s)" in text
    assert f"was silent for {config.SESSION_SILENT_S:g} s, or has talked for {config.SESSION_S:g} s" in text
    worth_s = config.SESSION_S + config.SESSION_SILENT_S
    assert f"{worth_s + config.SESSION_SILENT_S:g} s at the most" in text
    assert f"taken for {config.SESSION_SILENT_S:g} s, and what it proves is worth no more than {worth_s:g} s" in text
    assert f"each of {MAX_ASKED} IPs" in text
    assert f"from {MAX_ASKED} other IPs" in text
    assert config.MAX_ADVERTS == 10 * config.MAX_ADVERTS_PER_NODE
    assert config.MAX_NODES_PER_MACHINE > 10


@pytest.mark.parametrize(("name", "value"), DOCUMENT.table_rows("constant"))
def test_a_limit_is_the_one_in_the_code(name: str, value: str) -> None:
    assert float(value) == next(getattr(home, name) for home in HOMES if hasattr(home, name))


def test_every_limit_of_the_code_is_on_the_page() -> None:
    named = re.compile("MAX_[A-Z_]+|[A-Z_]+_PER_S|WATCH_AT_ONCE")
    limits = {name for home in HOMES for name in vars(home) if named.fullmatch(name)}
    listed = [name for name, _ in DOCUMENT.table_rows("constant")]
    assert len(listed) == len(set(listed))
    assert set(listed) == limits


# --- what somebody without the secret can do with what they recorded ---


def test_who_is_faster_than_the_network_is_challenged_beside_the_node_but_with_forged_sources_in_its_place() -> None:
    for copiers in (1, MAX_ASKED - 1, MAX_ASKED):
        a, b = wire("node0001"), wire("node0002")
        said_by_a = a.seal(BEAT)
        for number in range(copiers):
            b.open(said_by_a, (f"10.0.0.{66 + number}", 6), 0.0)
        b.open(said_by_a, A, 0.0)
        assert (A in [to for _, to in b.outbox]) == (copiers < MAX_ASKED)


def test_a_response_that_was_held_back_is_worth_nothing_and_so_is_what_followed_it() -> None:
    a, b = wire("node0001"), wire("node0002")
    b.open(a.seal(BEAT), A, 0.0)
    [challenge] = said(b)
    a.open(challenge, B, 0.0)
    held_back = [said(a)[0], *(a.seal(BEAT) for _ in range(5))]
    later = config.SESSION_SILENT_S + 0.1
    assert [b.open(data, A, later) for data in held_back] == [None] * 6


def test_a_node_that_has_gone_seems_to_be_there_for_70_s_at_the_most() -> None:
    a, b = wire("node0001"), wire("node0002")
    b.open(a.seal(BEAT), A, 0.0)
    [challenge] = said(b)
    a.open(challenge, B, 0.0)
    held_back = [said(a)[0], *(a.seal(BEAT) for _ in range(1000))]
    now = config.SESSION_SILENT_S
    b.open(held_back.pop(0), A, now)
    while b.open(held_back.pop(0), A, now) is not None:
        now += 0.1
    assert 69.0 < now <= 70.1


def test_a_challenge_is_answered_once_however_often_it_is_sent() -> None:
    a, b = wire("node0001"), wire("node0002")
    meet(a, b)
    challenge = a._sealed(CHALLENGE, b"12345678node0002")
    for tick in range(5000):
        b.open(challenge, A, tick * 0.001)
    assert len(said(b)) == 1
    assert b._counters["copies"] == 4999


def test_what_somebody_replays_keeps_no_known_node_from_proving_itself_again() -> None:
    """With recorded datagrams of thousands of nodes that have gone, and all their challenges."""
    a, b = wire("node0001"), wire("node0002")
    meet(a, b)
    gone = [wire(f"gone{number:04}") for number in range(3000)]
    recorded = [one.seal(BEAT) for one in gone] + [one._sealed(CHALLENGE, b"12345678node0002") for one in gone]
    for tick in range(140):
        now = tick * 0.5
        for data in recorded:
            b.open(data, ("10.0.0.66", 6), now)
        heard = b.open(a.seal(BEAT), A, now)
        assert heard == BEAT, f"at {now} s"
        for data, to in tuple(b.outbox):
            if to == A:
                a.open(data, B, now)
        answers = said(b)
        assert len(answers) <= 2 * 500 + 1
        for data in said(a):
            b.open(data, A, now)


def test_a_node_that_replays_are_sent_to_still_answers_who_challenges_it_and_challenges_it_in_turn() -> None:
    a, b = wire("node0001"), wire("node0002")
    gone = [wire(f"gone{number:04}") for number in range(3000)]
    for one in gone:
        b.open(one.seal(BEAT), ("10.0.0.66", 6), 0.0)
    said(b)
    b.open(a._sealed(CHALLENGE, b"12345678node0002"), A, 0.0)
    [response] = said(b)
    assert response[-17:-8] == RESPONSE + b"12345678"
    assert response[-8:] != NO_NONCE


@pytest.mark.parametrize(
    "rest",
    [
        b"",
        b" node0003",
        b" node0003 000000000001 ",
        b" node0003 00000000000x d[",
        b" node0003 \xb2\xb2\xb2\xb2\xb2\xb2\xb2\xb2\xb2\xb2\xb2\xb2 d[",
        b" node0003 1 d" + BEAT,
        b" node03 000000000001 d" + BEAT,
        b" node0003 000000000001 x" + BEAT,
        b" node0003  00000000001 d" + BEAT,
    ],
)
def test_what_has_the_secret_and_another_form_is_dropped_and_counted(rest: bytes) -> None:
    b = wire("node0002")
    assert b.open(b._begins + b._tag(rest) + rest, A, 0.0) is None
    assert b._counters["malformed"] == 1
    assert said(b) == []


def test_any_body_goes_through_the_seal_as_it_is() -> None:
    a, b = wire("node0001"), wire("node0002")
    meet(a, b)
    for body in (b"nw1", b"nw1[\n\r\x00 ]", b"nw1" + bytes(range(256))):
        assert b.open(a.seal(body), A, 0.0) == body
    assert DATA + b"[" in a.seal(BEAT)


def test_a_secret_may_hold_bytes_that_are_no_text() -> None:
    odd = os.fsdecode(b"secret \xff\xfe")
    assert lan_key(odd, "") != lan_key(os.fsdecode(b"secret \xff\xfd"), "")
    assert isinstance(SealedWire(lan_key(odd, ""), "", "node0001", Counter(), 0.0).open(b"", A, 0.0), Stranger)
