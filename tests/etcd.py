"""A real etcd for the tests: Debian's etcd-server on a free port, its data in a directory of its own."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

from nwdisco.addresses import free_port
from tests.machines import wait_until


def missing_etcd() -> str | None:
    """Why etcd cannot be used here, if so."""
    for program, package in (("etcd", "etcd-server"), ("etcdctl", "etcd-client")):
        if shutil.which(program) is None:
            return f"no {program} here: apt install {package}"
    return None


class Etcd:
    """One etcd. `prefix` is put before its command ("ip netns exec …"), `ip` is where clients reach it."""

    def __init__(self, ip: str = "127.0.0.1", prefix: Sequence[str] = (), options: Sequence[str] = ()) -> None:
        self.ip, self.port = ip, free_port()
        self._peer_port = free_port()
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
        peers = f"http://127.0.0.1:{self._peer_port}"
        with open(self._folder / "log", "ab") as log:
            self._process = subprocess.Popen(
                [*self._prefix, "etcd", "--name", "one", "--data-dir", str(self._folder / "data")]
                + ["--listen-client-urls", f"{self.scheme}://{self.ip}:{self.port}"]
                + ["--advertise-client-urls", f"{self.scheme}://{self.ip}:{self.port}"]
                + ["--listen-peer-urls", peers, "--initial-advertise-peer-urls", peers]
                + ["--initial-cluster", f"one={peers}", "--unsafe-no-fsync", *self._options],
                stdout=log,
                stderr=log,
            )

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

    def pause(self) -> None:
        os.kill(self.pid, signal.SIGSTOP)

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

    def revision(self) -> int:
        found: int = json.loads(self.ctl("get", "nothing", "--write-out=json"))["header"]["revision"]
        return found

    def close(self) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
            self._process.wait()
        shutil.rmtree(self._folder, ignore_errors=True)
