"""The beacon put together: directory, LAN link, control door; its start, its end, its status."""

from __future__ import annotations

import fcntl
import gc
import os
import resource
import signal
import socket
from collections.abc import Callable
from typing import TYPE_CHECKING

from .. import config
from ..config import VERSION
from ..core.directory import Directory
from ..core.wire import base64url
from ..errors import BeaconRunningError
from ..settings import Settings
from .doors.control import ControlDoor
from .doors.shim_port import ShimPort
from .interfaces import Interface, own_ip
from .links.lan import LanLink
from .loop import Loop, log
from .runtime import Runtime

if TYPE_CHECKING:
    from .links.etcd import EtcdLink
    from .networkzero import Networkzero

IDLE_LOOK_S = 0.5
"""How often an idle beacon looks whether its time has come."""
BACKLOG = 512
FILES = config.MAX_CONTROL_CONNECTIONS + config.MAX_SHIM_CONNECTIONS + config.SHIM_WAITING_ROOM + 100


class Beacon:
    def __init__(self, settings: Settings, runtime: Runtime) -> None:
        self._loop = Loop()
        self._settings = settings
        self._runtime = runtime
        self._started_at = self._loop.time()
        self._idle_since = self._started_at
        self._directory = Directory(_new_node_id())
        self._link = LanLink(self._loop, self._directory, settings, self._moved)
        self._own_ip = own_ip(self._link.interfaces)
        self._etcd = self._etcd_if_wanted()
        self._door = ControlDoor(
            self._loop,
            self._directory,
            lambda: self._own_ip,
            self._when_settled,
            self.status,
            self._loop.stop,
        )
        self._shim = self._shim_port()
        self._networkzero = self._networkzero_if_wanted()

    def run(self, ready: Callable[[], None], idle_s: float | None) -> None:
        """Serve until told to stop; with `idle_s`, end after so long without a program."""
        listening = self._listen()
        self._loop.serve(listening, self._door.connection)
        self._loop.stop_on(signal.SIGTERM, signal.SIGINT)
        self._shim.open(self._settings.shim)
        self._link.start()
        if self._networkzero is not None:
            self._networkzero.start(self._link.interfaces)
        if self._etcd is not None:
            self._etcd.start()
        gc.freeze()  # what is there by now stays: no need to look at it again
        ready()
        log(f"beacon {self._directory.node} on {self._runtime.socket}")
        if idle_s is not None:
            self._end_when_idle(idle_s)
        self._loop.run()
        os.unlink(self._runtime.socket)
        listening.close()
        if self._networkzero is not None:
            self._networkzero.stop()
        self._link.stop()  # the LAN's goodbye does not wait for an etcd that is away
        if self._etcd is not None:
            self._etcd.stop()
        self._door.close()
        self._shim.close()
        log(f"beacon {self._directory.node} has left")

    def status(self) -> dict[str, object]:
        """What `nwdisco status` shows."""
        now = self._loop.time()
        adverts = self._directory.all()
        return {
            "node": self._directory.node,
            "version": VERSION,
            "pid": os.getpid(),
            "uptime_s": round(now - self._started_at, 3),
            "socket": self._runtime.socket,
            "room": self._settings.room,
            "has_secret": bool(self._settings.secret),
            "port": self._settings.port,
            "group": self._settings.group,
            "interfaces": [{"name": i.name, "ip": i.ip, "broadcast": i.broadcast} for i in self._link.interfaces],
            "programs": len(self._door.connections),
            "adverts": len(adverts),
            "own_adverts": sum(advert.node == self._directory.node for advert in adverts),
            "nodes": [
                {
                    "node": peer.node,
                    "address": f"{peer.address[0]}:{peer.address[1]}",
                    "adverts": self._directory.count_held_by(peer.node),
                    "heard_s_ago": round(now - peer.heard_at, 3),
                }
                for peer in self._link.lan.peers
            ],
            "strangers": self._link.strangers.status(now),
            "lan": dict(self._link.lan.counters),
            "control": dict(self._door.counters),
            "shim": self._shim.status(),
            "networkzero": None if self._networkzero is None else self._networkzero.status(),
            "etcd": None if self._etcd is None else self._etcd.status(),
        }

    def _shim_port(self) -> ShimPort:
        """With the token and the certificate that the settings want: what they need is not imported otherwise."""
        settings, token, tls = self._settings, None, None
        if settings.shim is not None and settings.secret:
            from ..core.secret import shim_token

            token = shim_token(settings.secret)
        if settings.shim is not None and (settings.shim_tls_cert or settings.shim_tls_key):
            from .doors.tls import server_context

            tls = server_context(settings.shim_tls_cert, settings.shim_tls_key)
        return ShimPort(self._loop, self._directory, lambda: self._own_ip, self._when_settled, token, tls)

    def _networkzero_if_wanted(self) -> Networkzero | None:
        if not self._settings.networkzero:
            return None
        from .networkzero import Networkzero  # with pyzmq, which no other beacon needs

        return Networkzero(self._loop, self._directory, lambda: self._own_ip, self._when_settled)

    def _etcd_if_wanted(self) -> EtcdLink | None:
        if not self._settings.etcd:
            return None
        from ..etcd.settings import EtcdSettings
        from .links.etcd import EtcdLink  # with asyncio and gRPC, which no other beacon needs

        settings = self._settings
        link = EtcdLink(
            self._loop,
            self._directory,
            EtcdSettings.from_environment(settings.etcd),
            settings.etcd_plain,
            settings.room,
        )
        peers = self._link.lan.peers
        peers.on_near, peers.on_far, peers.on_left = link.imports.near, link.imports.far, link.imports.left
        return link

    def _when_settled(self, action: Callable[[], None]) -> None:
        """Call once what is on the LAN, and in etcd, is known."""
        etcd = self._etcd
        self._link.when_settled(action if etcd is None else lambda: etcd.when_listed(action))

    def _listen(self) -> socket.socket:
        if os.path.lexists(self._runtime.socket):
            os.unlink(self._runtime.socket)  # left by a beacon that was killed: we hold the lock
        listening = socket.socket(socket.AF_UNIX)
        listening.bind(self._runtime.socket)
        listening.listen(BACKLOG)
        return listening

    def _moved(self, interfaces: list[Interface]) -> None:
        """Other interfaces: our own adverts without a given IP get the new one."""
        self._own_ip = own_ip(interfaces)
        if self._networkzero is not None:
            self._networkzero.moved(interfaces)
        self._directory.readdress(self._own_ip)
        if self._etcd is not None:
            self._etcd.moved()

    def _end_when_idle(self, idle_s: float) -> None:
        now = self._loop.time()
        in_use = self._door.connections or self._shim.in_use
        if in_use or (self._networkzero is not None and self._networkzero.in_use):
            self._idle_since = now
        if now - self._idle_since >= idle_s:
            self._loop.stop()
        else:
            self._loop.call_later(min(IDLE_LOOK_S, idle_s), self._end_when_idle, idle_s)


def _new_node_id() -> str:
    """Eight characters of URL-safe base64, never the same twice."""
    return base64url(os.urandom(6)).decode()


def _allow_many_files() -> None:
    """Each program is an open file or two, and the usual limit is 1024 where 4096 connections are served."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = FILES if hard == resource.RLIM_INFINITY else min(FILES, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def run_beacon(settings: Settings, ready: Callable[[], None], idle_s: float | None) -> None:
    """Run a beacon in this process until it is told to stop. BeaconRunningError when the user has one already."""
    runtime = Runtime(settings)
    runtime.prepare()
    _allow_many_files()
    with open(runtime.lock, "a+") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.seek(0)
            raise BeaconRunningError(f"a beacon is running already, with process id {lock.read().strip()}") from None
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()

        Beacon(settings, runtime).run(ready, idle_s)
