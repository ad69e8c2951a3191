"""One connection to etcd, made anew when it does not answer, to the next endpoint where there are several."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import grpc
from aetcd import rpc

from ..errors import RegistryError, RegistryUnavailableError
from .errors import NO_ACCESS, is_cut_off, is_distrust, named, wants_a_new_token
from .settings import EtcdSettings

T = TypeVar("T")
CALL_S = 5.0
"""How long a call may take."""
OLDEST = (3, 3)
"""The first etcd whose watches and transactions are as this needs them."""
RETRY_MS = (50, 500)
"""Between tries to connect: first and longest."""
PING_MS = (10_000, 5_000)
"""How often a connection with calls or watches on it is tried, and how long it may be silent then: a machine that vanished says
nothing. etcd does not like more than one in 5 s."""
OPTIONS = [
    ("grpc.initial_reconnect_backoff_ms", RETRY_MS[0]),
    ("grpc.min_reconnect_backoff_ms", 1000),
    ("grpc.max_reconnect_backoff_ms", RETRY_MS[1]),
    ("grpc.keepalive_time_ms", PING_MS[0]),
    ("grpc.keepalive_timeout_ms", PING_MS[1]),
    ("grpc.http2.ping_timeout_ms", PING_MS[1]),
    ("grpc.http2.max_pings_without_data", 0),  # no limit: a watch may have nothing to say for days
    ("grpc.max_receive_message_length", -1),  # what etcd lets in it lets out: a page of large values, or their changes
    ("grpc.enable_http_proxy", 0),
    ("grpc.use_local_subchannel_pool", 1),
]
logger = logging.getLogger("nwdisco")


class Connection:
    def __init__(self, settings: EtcdSettings, call_s: float) -> None:
        self.settings = settings
        self._call_s = call_s
        self._first = 0
        """The endpoint that is tried first."""
        self._channel: grpc.aio.Channel | None = None
        self._connecting = asyncio.Lock()
        self._has_answered = False
        self._said_away = False
        self._token: str | None = None
        self._place: tuple[str, int] | None = None
        """Where etcd is: IPv4 address and port."""

    # --- calls ---

    async def answered(self, service: str, once: Callable[..., Awaitable[T]]) -> T:
        """One call, and with a token that is one no more once again: etcd did nothing then."""
        for is_last in (False, True):
            async with self.calling(service) as stub:
                try:
                    answer = await once(
                        stub, timeout=self._call_s, metadata=self.metadata, wait_for_ready=self._has_answered
                    )
                except grpc.RpcError as error:
                    if is_last or self._token is None or not wants_a_new_token(error):
                        raise
                    self._token = None
                    continue
                self._has_answered = True
                self._note_back()
                return answer
        raise AssertionError("two rounds end in an answer or an error")

    @asynccontextmanager
    async def calling(self, service: str) -> AsyncIterator[Any]:
        """A service's stub, to be called with `metadata`; what the call raises is raised as nwdisco's."""
        channel = None
        try:
            stub = await self._stub(service)
            channel = self._channel
            yield stub
        except asyncio.CancelledError:
            self._look_whether_closed()
            raise
        except grpc.RpcError as error:
            is_dead = error.code() == grpc.StatusCode.DEADLINE_EXCEEDED or not self._has_answered
            if is_dead or (is_cut_off(error) and len(self.settings.endpoints) > 1):
                await self._next_endpoint(channel)
            raise named(error, f"etcd at {self.settings}") from error

    @property
    def metadata(self) -> tuple[tuple[str, str], ...]:
        return () if self._token is None else (("token", self._token),)

    def local_ip(self) -> str | None:
        """The address under which this machine reaches etcd, and others may reach this machine. None on one machine with it."""
        return None if self._place is None else _local_ip(self._place)

    def note_away(self, error: RegistryUnavailableError) -> None:
        """For who tries again by himself: the log says so, once for all of them, and once that etcd is back."""
        if not self._said_away:
            self._said_away = True
            logger.warning("%s; tried again until it does", error)

    async def close(self) -> None:
        channel, self._channel = self._channel, None
        if channel is not None:
            await channel.close()

    # --- inside ---

    async def _stub(self, service: str) -> Any:
        async with self._connecting:
            if self._channel is None:
                await self._connect()
            if self.settings.user and self._token is None:
                request = rpc.AuthenticateRequest(name=self.settings.user, password=self.settings.password)
                response = await rpc.AuthStub(self._open_channel()).Authenticate(request, timeout=self._call_s)
                self._token = response.token
            return getattr(rpc, f"{service}Stub")(self._open_channel())

    def _open_channel(self) -> grpc.aio.Channel:
        """The one that was just made, or waited for: another call may have closed it meanwhile."""
        if self._channel is None:
            raise RegistryUnavailableError(f"etcd at {self.settings} did not answer: the connection is made anew")
        return self._channel

    async def _connect(self) -> None:
        """gRPC checks the certificate of every endpoint against the name of the first one: so each is the first one once, until
        etcd has answered. After that, it is the next one's turn when a call has failed."""
        tries = len(self.settings.endpoints) if self.settings.tls and not self._has_answered else 1
        errors: list[grpc.RpcError] = []
        try:
            while True:
                self._channel = await self._new_channel()
                self._token = None
                try:
                    return await self._check_version()
                except grpc.RpcError as error:
                    errors.append(error)
                    if len(errors) == tries:
                        raise next(filter(is_distrust, errors), error) from None
                    self._first = (self._first + 1) % tries
        finally:
            errors.clear()  # their tracebacks lead here: they would keep the channel, and that goes on trying

    async def _new_channel(self) -> grpc.aio.Channel:
        endpoints = self.settings.endpoints[self._first :] + self.settings.endpoints[: self._first]
        known = [(host, place) for host, port in endpoints for place in await _resolved(host, port)]
        if not known:
            raise RegistryUnavailableError(f"etcd at {self.settings}: no such host is known here")
        name, self._place = known[0]
        places = [place for _, place in known]
        target = "ipv4:" + ",".join(f"{ip}:{port}" for ip, port in places)
        if not self.settings.tls:
            return grpc.aio.insecure_channel(target, options=OPTIONS)
        credentials = grpc.ssl_channel_credentials(self.settings.ca, self.settings.key, self.settings.cert)
        of_the_first = [("grpc.ssl_target_name_override", name), ("grpc.default_authority", name)]
        return grpc.aio.secure_channel(target, credentials, options=[*OPTIONS, *of_the_first])

    async def _check_version(self) -> None:
        """RegistryError from an etcd that is too old, and from what is none."""
        assert self._channel is not None
        try:
            status = await rpc.MaintenanceStub(self._channel).Status(
                rpc.StatusRequest(), timeout=self._call_s, wait_for_ready=self._has_answered
            )
        except grpc.RpcError as error:
            if error.code() in NO_ACCESS:
                return  # it does not say; what follows will
            channel, self._channel = self._channel, None
            await channel.close()
            raise
        version = status.version
        if tuple(int(part) for part in version.split(".")[:2] if part.isdigit()) < OLDEST:
            await self.close()
            raise RegistryError(f"etcd at {self.settings} is version {version}: it is too old, use 3.3 or later")

    async def _next_endpoint(self, channel: grpc.aio.Channel | None) -> None:
        """The next call makes a new connection, beginning with another endpoint, unless this one was given up already."""
        if channel is None or channel is self._channel:
            self._first = (self._first + 1) % len(self.settings.endpoints)
            await self.close()

    def _look_whether_closed(self) -> None:
        """gRPC cancels the calls of a channel that another call has closed: unless our task is, RegistryUnavailableError."""
        task = asyncio.current_task()
        if task is not None and not task.cancelling():
            raise RegistryUnavailableError(f"etcd at {self.settings} did not answer: the connection is made anew")

    def _note_back(self) -> None:
        if self._said_away:
            self._said_away = False
            logger.warning("etcd at %s is back", self.settings)


async def _resolved(host: str, port: int) -> list[tuple[str, int]]:
    """The IPv4 addresses of a host, with the port; none when it is unknown."""
    try:
        found = await asyncio.get_running_loop().getaddrinfo(host, port, family=socket.AF_INET, type=socket.SOCK_STREAM)
    except OSError:
        return []
    return [(str(where[4][0]), port) for where in found]


def _local_ip(place: tuple[str, int]) -> str | None:
    """The address that a packet to a place leaves with (none is sent); None where that is loopback, or no way leads there."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(place)
        except OSError:
            return None
        ip: str = probe.getsockname()[0]
        return None if ip.startswith("127.") else ip
