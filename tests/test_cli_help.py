"""What the `nwdisco` command tells those who do not know it yet: its help, its version, its demo."""

from __future__ import annotations

import os
import subprocess
import sys

from nwdisco import config
from nwdisco.settings import SETTINGS
from tests.machines import DEADLINE_S, Machine


def test_help_names_every_command_and_every_setting(machine: Machine) -> None:
    done = machine.command("--help")
    assert done.returncode == 0
    for command in ("beacon", "advertise", "discover", "list", "watch", "status", "stop", "demo"):
        assert f"\n  {command} " in done.stdout
        assert machine.command(command, "--help").returncode == 0
    for _, variable, _, _ in SETTINGS:
        assert variable in done.stdout


def test_the_installed_command_is_the_module(machine: Machine) -> None:
    by_name = subprocess.run(
        [os.path.join(os.path.dirname(sys.executable), "nwdisco"), "--version"],
        env=machine.env,
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
    )
    assert by_name.stdout == machine.command("--version").stdout == f"nwdisco, version {config.VERSION}\n"


def test_the_demo_shows_services_that_join_and_leave_and_leaves_nothing_running(machine: Machine) -> None:
    done = machine.command("demo")
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    for event in (
        "joined printer/a at 127.0.0.1:",
        "joined printer/b at 127.0.0.1:",
        "left printer/a",
        "left printer/b",
    ):
        assert f"B: {event}" in done.stdout
    assert done.stdout.rstrip().endswith("[]")
    assert not machine.runtime_dir.exists(), "it used the user's own beacon"
