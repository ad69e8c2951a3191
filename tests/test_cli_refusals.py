"""What the `nwdisco` command cannot do it refuses with exit status 2, and says why in words for the person who typed it."""

from __future__ import annotations

import pytest

from tests.command import refusal
from tests.machines import Machine


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (("advertise", ""), "the name is empty"),
        (("advertise", "n" * 256), "over 255 bytes"),
        (("advertise", "a\nb"), "control character"),
        (("advertise", "a\x1b[2Jb"), "control character"),
        (("advertise", "\udcff"), "UTF-8"),
        (("advertise", "x", ":0"), "from 1 to 65535"),
        (("advertise", "x", "65536"), "from 1 to 65535"),
        (("advertise", "--", "x", "-1"), "from 1 to 65535"),
        (("advertise", "x", "1.2.3.4:http"), "is no number"),
        (("advertise", "x", "256.1.1.1"), "no IPv4 address"),
        (("advertise", "x", "fe80::1"), "IPv6"),
        (("advertise", "x", "1.2.3.*"), "no address like 1.2.3.*"),
        (("advertise", "x", "--ttl", "0.5"), "ttl_s is 0.5"),
        (("advertise", "x", "--ttl", "-1"), "ttl_s is -1"),
        (("advertise", "x", "--ttl", "nan"), "ttl_s is nan"),
        (("advertise", "x", "-p", "=v"), "empty name"),
        (("advertise", "x", "-p", "k=" + "v" * 700), "700 is the most"),
        (("discover", ""), "the name is empty"),
        (("discover", "x", "--wait", "-1"), "0 or more seconds"),
        (("discover", "x", "--wait", "nan"), "0 or more seconds"),
        (("list", ""), "the group is empty"),
        (("list", "g", "--separator", ""), "the separator is empty"),
        (("watch", "a\nb"), "control character"),
        (("watch", "--wait", "-1"), "0 or more seconds"),
    ],
    ids=lambda value: (
        " ".join(value).encode("ascii", "backslashreplace").decode()[:40] if isinstance(value, tuple) else ""
    ),
)
def test_bad_input_is_one_line_that_says_why_and_starts_no_beacon(
    machine: Machine, args: tuple[str, ...], says: str
) -> None:
    assert says in refusal(machine.command(*args))
    assert not machine.runtime_dir.exists()


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("NWDISCO_PORT", "0"),
        ("NWDISCO_PORT", "x"),
        ("NWDISCO_GROUP", "10.0.0.1"),
        ("NWDISCO_IDLE_S", "-1"),
        ("NWDISCO_NETWORKZERO", "maybe"),
    ],
)
def test_a_setting_that_cannot_be_is_one_line_that_names_it(machine: Machine, variable: str, value: str) -> None:
    machine.env[variable] = value
    for command in (("discover", "x"), ("beacon",), ("status",)):
        said = refusal(machine.command(*command))
        assert variable in said
        assert repr(value) in said


@pytest.mark.parametrize(
    "args", [("advertise",), ("advertise", "x", "-p", "pair"), ("discover",), ("explode",), ("list", "--x")]
)
def test_a_wrong_use_is_explained(machine: Machine, args: tuple[str, ...]) -> None:
    done = machine.command(*args)
    assert (done.returncode, done.stdout) == (2, "")
    assert "Usage: " in done.stderr
    assert "Error: " in done.stderr
    assert "Traceback" not in done.stderr
