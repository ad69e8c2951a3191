"""One connection to etcd: its calls, each with a deadline, its errors as nwdisco's.

A call that fails may have happened all the same, so nothing is sent twice by itself. The connection is made anew when it
does not answer, to the next endpoint where there are several.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import grpc
from aetcd import rpc

from ..errors import RegistryAccessError, RegistryError, RegistryKeyError, RegistryUnavailableError
from .settings import EtcdSettings

T = TypeVar("T")
CALL_S = 5.0
"""How long a call may take."""
OLDEST = (3, 3)
"""The first etcd whose watches and transactions are as this needs them."""
PAGE = 1000
"""Keys read at a time."""
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
UNAVAILABLE = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.CANCELLED)
NO_TRUST = ("CERTIFICATE_VERIFY_FAILED", "Hostname Verification", "security handshaker", "TSI_")
"""In gRPC's words: a certificate, theirs or ours, is refused or unreadable."""
TOO_LARGE = ("request is too large", "message larger than max")
NO_ACCESS = (grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED)


@dataclass(frozen=True)
class Entry:
    """One key as it stands in etcd."""

    key: bytes
    value: bytes
    created: int
    """The revision at which it was created."""
    modified: int
    lease: int


@dataclass(frozen=True)
class Op:
    """One step of a transaction: put a value, or with None delete the key (or all of a prefix)."""

    key: bytes
    value: bytes | None
    is_prefix: bool = False


class Compacted(RegistryError):
    """What is asked for is older than what etcd remembers: read everything again."""


class LeaseLost(RegistryError):
    """etcd does not know the lease (any more)."""


class LeaseTaken(RegistryError):
    """Another lease has this id."""


class Client:
    def __init__(self, settings: EtcdSettings, call_s: float = CALL_S) -> None:
        self.settings = settings
        self._call_s = call_s
        self._first = 0
        """The endpoint that is tried first."""
        self._channel: grpc.aio.Channel | None = None
        self._connecting = asyncio.Lock()
        self._has_answered = False
        self._token: str | None = None
        self._place: tuple[str, int] | None = None
        """Where etcd is: IPv4 address and port."""

    # --- reading ---

    async def get(self, key: bytes) -> Entry | None:
        response = await self._call("KV", "Range", rpc.RangeRequest(key=key))
        return _entry(response.kvs[0]) if response.kvs else None

    async def read(self, prefix: bytes, by_creation: bool = False) -> tuple[list[Entry], int]:
        """All keys of a prefix as they are at one revision, and that revision."""
        if by_creation:
            entries, revision = await self.read(prefix)
            return sorted(entries, key=lambda entry: (entry.created, entry.key)), revision
        entries, start, revision = [], prefix or b"\0", 0
        while True:
            response = await self._call(
                "KV",
                "Range",
                rpc.RangeRequest(key=start, range_end=range_end(prefix), limit=PAGE, revision=revision),
            )
            entries += [_entry(kv) for kv in response.kvs]
            revision = revision or response.header.revision
            if not response.more:
                return entries, revision
            start = entries[-1].key + b"\0"

    async def watch(self, prefix: bytes, revision: int) -> AsyncIterator[list[tuple[Entry, bool]]]:
        """From a revision on, what happens to the keys of a prefix: lists of (entry, whether it is there).

        The first list is empty: the watch stands. Raises Compacted, or RegistryUnavailableError when the connection breaks.
        """
        create = rpc.WatchCreateRequest(key=prefix or b"\0", range_end=range_end(prefix), start_revision=revision)
        call = None
        try:
            stub = await self._stub("Watch")
            call = stub.Watch(metadata=self._metadata(), wait_for_ready=True)
            await call.write(rpc.WatchRequest(create_request=create))
            async for response in call:
                if response.compact_revision:
                    raise Compacted(f"etcd has forgotten what was before revision {response.compact_revision}")
                if response.canceled:
                    raise RegistryError(f"etcd at {self.settings} ended a watch: {response.cancel_reason}")
                yield [(_entry(event.kv), event.type == event.PUT) for event in response.events]
        except asyncio.CancelledError:
            self._look_whether_closed()
            raise
        except grpc.RpcError as error:
            raise self._named(error) from error
        finally:
            if call is not None:
                call.cancel()
        raise RegistryUnavailableError(f"etcd at {self.settings} ended the connection")

    # --- writing ---

    async def write(self, ops: Sequence[Op], lease: int = 0, only_if_absent: bool = False) -> list[int] | None:
        """All steps at once; how many keys each deletion removed. None when one was there that was to be absent."""
        absent = [
            rpc.Compare(result=rpc.Compare.EQUAL, target=rpc.Compare.CREATE, key=op.key, create_revision=0)
            for op in ops
        ]
        request = rpc.TxnRequest(compare=absent if only_if_absent else [], success=[_request(op, lease) for op in ops])
        response = await self._call("KV", "Txn", request)
        if not response.succeeded:
            return None
        return [
            each.response_delete_range.deleted
            for each, op in zip(response.responses, ops, strict=True)
            if op.value is None
        ]

    async def grant(self, ttl_s: int, lease: int = 0) -> int:
        """A new lease; its id, of etcd's choice unless given."""
        response = await self._call("Lease", "LeaseGrant", rpc.LeaseGrantRequest(TTL=ttl_s, ID=lease))
        granted: int = response.ID
        return granted

    async def renew(self, lease: int) -> None:
        """Keep a lease alive. Raises LeaseLost."""

        async def once(stub: Any, **how: Any) -> Any:
            async for answer in stub.LeaseKeepAlive(iter([rpc.LeaseKeepAliveRequest(ID=lease)]), **how):
                return answer
            return None

        answer = await self._answered("Lease", once)
        if answer is None or answer.TTL <= 0:
            raise LeaseLost(f"etcd at {self.settings} has no lease {lease} any more")

    async def revoke(self, lease: int) -> None:
        """End a lease and all its keys. Fine if it has ended."""
        try:
            await self._call("Lease", "LeaseRevoke", rpc.LeaseRevokeRequest(ID=lease))
        except LeaseLost:
            return

    async def touch(self) -> None:
        """Whether etcd answers, with the whole cluster behind it."""
        await self._call("KV", "Range", rpc.RangeRequest(key=b"nwdisco", count_only=True))

    def local_ip(self) -> str | None:
        """The address under which this machine reaches etcd, and others may reach this machine. None on one machine with it."""
        return None if self._place is None else _local_ip(self._place)

    async def close(self) -> None:
        channel, self._channel = self._channel, None
        if channel is not None:
            await channel.close()

    # --- calls ---

    async def _call(self, service: str, method: str, request: Any) -> Any:
        def once(stub: Any, **how: Any) -> Awaitable[Any]:
            answer: Awaitable[Any] = getattr(stub, method)(request, **how)
            return answer

        return await self._answered(service, once)

    async def _answered(self, service: str, once: Callable[..., Awaitable[T]]) -> T:
        """One call, and after a token that has expired once more: etcd did nothing then."""
        for is_last in (False, True):
            try:
                stub = await self._stub(service)
                answer = await once(
                    stub, timeout=self._call_s, metadata=self._metadata(), wait_for_ready=self._has_answered
                )
                self._has_answered = True
                return answer
            except asyncio.CancelledError:
                self._look_whether_closed()
                raise
            except grpc.RpcError as error:
                if error.code() == grpc.StatusCode.UNAUTHENTICATED and self._token is not None and not is_last:
                    self._token = None
                    continue
                if error.code() == grpc.StatusCode.DEADLINE_EXCEEDED or not self._has_answered:
                    await self._next_endpoint()
                raise self._named(error) from error
        raise AssertionError("two rounds end in an answer or an error")

    def _metadata(self) -> tuple[tuple[str, str], ...]:
        return () if self._token is None else (("token", self._token),)

    async def _stub(self, service: str) -> Any:
        async with self._connecting:
            if self._channel is None:
                self._channel = await self._connect()
                self._token = None
                await self._check_version()
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

    async def _connect(self) -> grpc.aio.Channel:
        endpoints = self.settings.endpoints[self._first :] + self.settings.endpoints[: self._first]
        places = [place for endpoint in endpoints for place in await _resolved(*endpoint)]
        if not places:
            raise RegistryUnavailableError(f"etcd at {self.settings}: no such host is known here")
        self._place = places[0]
        target = "ipv4:" + ",".join(f"{ip}:{port}" for ip, port in places)
        if not self.settings.tls:
            return grpc.aio.insecure_channel(target, options=OPTIONS)
        credentials = grpc.ssl_channel_credentials(self.settings.ca, self.settings.key, self.settings.cert)
        named = [("grpc.ssl_target_name_override", endpoints[0][0]), ("grpc.default_authority", endpoints[0][0])]
        return grpc.aio.secure_channel(target, credentials, options=[*OPTIONS, *named])

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

    async def _next_endpoint(self) -> None:
        """The next call makes a new connection, beginning with another endpoint."""
        self._first = (self._first + 1) % len(self.settings.endpoints)
        await self.close()

    def _look_whether_closed(self) -> None:
        """gRPC cancels the calls of a channel that another call has closed: unless our task is, RegistryUnavailableError."""
        task = asyncio.current_task()
        if task is not None and not task.cancelling():
            raise RegistryUnavailableError(f"etcd at {self.settings} did not answer: the connection is made anew")

    def _named(self, error: grpc.RpcError) -> RegistryError:
        code, details = error.code(), error.details() or ""
        where = f"etcd at {self.settings}"
        if any(words in details for words in NO_TRUST):
            return RegistryAccessError(
                f"{where} and we do not trust each other ({details}): see NWDISCO_ETCD_CA, and _CERT and _KEY if it asks for them"
            )
        if code in UNAVAILABLE:
            return RegistryUnavailableError(
                f"{where} does not answer ({details or code.name}): "
                "is it running, is this its address, with https:// if it speaks TLS, is a firewall between?"
            )
        if "requested lease not found" in details:
            return LeaseLost(f"{where} has no such lease (any more)")
        if "lease already exists" in details:
            return LeaseTaken(f"{where} has a lease of this id already")
        if code == grpc.StatusCode.PERMISSION_DENIED:
            return RegistryAccessError(f"{where} does not let us at these keys ({details}): see the roles of its users")
        if any(words in details for words in TOO_LARGE):
            return RegistryKeyError(f"{where} takes nothing so large ({details}): put less at once")
        if code in NO_ACCESS or "authentication" in details or "user name is empty" in details:
            return RegistryAccessError(
                f"{where} refuses us ({details}): see NWDISCO_ETCD_USER and NWDISCO_ETCD_PASSWORD"
            )
        if "required revision has been compacted" in details:
            return Compacted(f"{where} has forgotten that revision")
        if code == grpc.StatusCode.UNIMPLEMENTED:
            return RegistryError(f"{where} does not speak etcd's v3 API: it is too old, or something else")
        return RegistryError(f"{where} refused: {details or code.name}")


def range_end(prefix: bytes) -> bytes:
    """The first key after all that begin with a prefix; all keys for an empty one."""
    bare = prefix.rstrip(b"\xff")
    return bare[:-1] + bytes([bare[-1] + 1]) if bare else b"\0"


def _entry(kv: Any) -> Entry:
    return Entry(kv.key, kv.value, kv.create_revision, kv.mod_revision, kv.lease)


def _request(op: Op, lease: int) -> Any:
    if op.value is not None:
        return rpc.RequestOp(request_put=rpc.PutRequest(key=op.key, value=op.value, lease=lease))
    if op.is_prefix:
        return rpc.RequestOp(
            request_delete_range=rpc.DeleteRangeRequest(key=op.key or b"\0", range_end=range_end(op.key))
        )
    return rpc.RequestOp(request_delete_range=rpc.DeleteRangeRequest(key=op.key))


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
