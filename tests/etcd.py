"""A real etcd for the tests: Debian's etcd-server on a free port, its data in a directory of its own."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from nwdisco.etcd.settings import EtcdSettings
from tests.machines import DEADLINE_S, wait_until
from tests.ports import free_port

Record = Callable[[str, object], None]
"""pytest's record_property."""


def missing_etcd() -> str | None:
    """Why etcd cannot be used here, if so."""
    for program, package in (("etcd", "etcd-server"), ("etcdctl", "etcd-client")):
        if shutil.which(program) is None:
            return f"no {program} here: apt install {package}"
    return None


class EtcdctlWatch:
    """What a running `etcdctl watch` prints."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def line(self) -> str:
        """The next line; waits for it."""
        assert self._process.stdout is not None
        return self._process.stdout.readline().rstrip("\n")


class Etcd:
    """One etcd. `prefix` stands before its command ("ip netns exec …"); clients reach it at `ip`, it listens at `listen`."""

    def __init__(
        self,
        ip: str = "127.0.0.1",
        prefix: Sequence[str] = (),
        options: Sequence[str] = (),
        listen: str = "",
        name: str = "one",
    ) -> None:
        self.ip, self.port = ip, free_port()
        self._listen = listen or ip
        self._name = name
        self._peers = f"http://127.0.0.1:{free_port()}"
        self.member = self.cluster = f"{name}={self._peers}"
        """Itself, and all members, as etcd is told."""
        self._prefix, self._options = list(prefix), list(options)
        self._folder = Path(tempfile.mkdtemp(prefix="nwdisco-etcd-"))
        self._process: subprocess.Popen[bytes] | None = None
        self._read_from = 0
        """Where in the log this start's lines begin."""

    @property
    def address(self) -> str:
        return f"{self.ip}:{self.port}"

    @property
    def scheme(self) -> str:
        return "https" if any(option.startswith("--cert-file") for option in self._options) else "http"

    def start(self) -> None:
        """Start, again after `kill` with all its data, and wait until it serves."""
        self.launch()
        self.wait()

    def launch(self) -> None:
        options = {
            "--name": self._name,
            "--data-dir": str(self._folder / "data"),
            "--listen-client-urls": f"{self.scheme}://{self._listen}:{self.port}",
            "--advertise-client-urls": f"{self.scheme}://{self.ip}:{self.port}",
            "--listen-peer-urls": self._peers,
            "--initial-advertise-peer-urls": self._peers,
            "--initial-cluster": self.cluster,
        }
        with open(self._folder / "log", "ab") as log:
            self._process = subprocess.Popen(
                [
                    *self._prefix,
                    "etcd",
                    *(part for option in options.items() for part in option),
                    "--unsafe-no-fsync",
                    *self._options,
                ],
                stdout=log,
                stderr=log,
            )

    def wait(self) -> None:
        """Until it serves."""

        def serves() -> bool:
            assert self._process is not None
            assert self._process.poll() is None, f"etcd ended: {(self._folder / 'log').read_text()[-2000:]}"
            return b"ready to serve client requests" in (self._folder / "log").read_bytes()[self._read_from :]

        wait_until(serves, "etcd serves", 30)
        self._read_from = (self._folder / "log").stat().st_size

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def kill(self) -> None:
        """kill -9; its data stay."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()

    def forget_everything(self) -> None:
        """Its data are lost, while it does not run."""
        shutil.rmtree(self._folder / "data")

    def back_up(self) -> None:
        self.ctl("snapshot", "save", str(self._folder / "backup"))

    def restore(self) -> None:
        """End it, and start it with what was backed up; what came after that is lost."""
        self.kill()
        self.forget_everything()
        self.ctl(
            *("snapshot", "restore", str(self._folder / "backup"), "--data-dir", str(self._folder / "data")),
            *("--name", self._name, "--initial-cluster", self.cluster, "--initial-advertise-peer-urls", self._peers),
        )
        self.start()

    def pause(self) -> None:
        """Every one of its threads stands still."""
        os.kill(self.pid, signal.SIGSTOP)
        threads = Path(f"/proc/{self.pid}/task")
        wait_until(lambda: all(_is_stopped(thread / "stat") for thread in threads.iterdir()), "etcd stands still")

    def resume(self) -> None:
        os.kill(self.pid, signal.SIGCONT)

    def ctl(self, *arguments: str, timeout_s: float = 20) -> str:
        """etcdctl, as one types it: its output."""
        done = subprocess.run(
            [*self._prefix, "etcdctl", "--endpoints", f"{self.scheme}://{self.address}", *arguments],
            capture_output=True,
            text=True,
            timeout=timeout_s,
            env={**os.environ, "ETCDCTL_API": "3"},
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    @contextmanager
    def watching(self, *arguments: str) -> Iterator[EtcdctlWatch]:
        """`etcdctl watch`, once it stands."""
        before = self._watchers()
        command = [*self._prefix, "etcdctl", "--endpoints", f"{self.scheme}://{self.address}", "watch", *arguments]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env={**os.environ, "ETCDCTL_API": "3"})
        try:
            wait_until(lambda: self._watchers() > before, "etcdctl's watch stands")
            yield EtcdctlWatch(process)
        finally:
            process.kill()
            process.communicate()

    def _watchers(self) -> int:
        with urllib.request.urlopen(f"http://{self.address}/metrics", timeout=20) as page:
            figures = page.read().decode()
        found = re.search(r"^etcd_debugging_mvcc_watcher_total (\S+)$", figures, re.MULTILINE)
        assert found, "etcd tells how many watch"
        return int(float(found.group(1)))

    def revision(self) -> int:
        found: int = json.loads(self.ctl("get", "nothing", "--write-out=json"))["header"]["revision"]
        return found

    def close(self) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
            self._process.wait()
        shutil.rmtree(self._folder, ignore_errors=True)


def _is_stopped(stat: Path) -> bool:
    return stat.read_text().rpartition(")")[2].split()[0] == "T"


def soon(record: Record, what: str, condition: Callable[[], object], deadline_s: float = DEADLINE_S) -> None:
    """It comes true before the deadline; the report has the seconds that it took."""
    start = time.monotonic()
    wait_until(condition, what, deadline_s)
    record(f"{what}, seconds", round(time.monotonic() - start, 2))


def in_environment(monkeypatch: pytest.MonkeyPatch, **values: object) -> None:
    for name, value in values.items():
        monkeypatch.setenv(f"NWDISCO_ETCD{name}", str(value))


def openssl(place: Path, *commands: str) -> None:
    for command in commands:
        subprocess.run(["openssl", *command.split()], cwd=place, check=True, capture_output=True, timeout=60)


def secured(etcd: Etcd, *more: str) -> None:
    """Password wanted: root's is "secret"; "clerk" has "pens", and only what begins with /desk/. `more` for etcdctl."""
    for command in (
        "user add root:secret",
        "user grant-role root root",
        "role add desk",
        "role grant-permission desk readwrite /desk/ --prefix",
        "user add clerk:pens",
        "user grant-role clerk desk",
        *more,
        "auth enable",
    ):
        etcd.ctl(*command.split())


def settings(etcd: Etcd, user: str = "", password: str = "") -> EtcdSettings:
    return EtcdSettings(((etcd.ip, etcd.port),), user=user, password=password)


@contextmanager
def cluster(size: int) -> Iterator[list[Etcd]]:
    """Real etcds that are one cluster."""
    etcds = [Etcd(name=f"member{number}") for number in range(size)]
    try:
        for etcd in etcds:
            etcd.cluster = ",".join(each.member for each in etcds)
            etcd.launch()
        for etcd in etcds:
            etcd.wait()
        yield etcds
    finally:
        for etcd in etcds:
            etcd.close()


@contextmanager
def running(*options: str) -> Iterator[Etcd]:
    """A real etcd, ended and forgotten afterwards."""
    etcd = Etcd(options=options)
    try:
        etcd.start()
        yield etcd
    finally:
        etcd.close()
