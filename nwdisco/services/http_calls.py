"""A call of a service: which instances it tries, one after the other, until one answers. Neither sends nor waits.

http.py and http_async.py drive it: each attempt is a `with` around one sending, which swallows a failure after which there is
another attempt. retrying.py has the rule of when that is.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from typing import TYPE_CHECKING, Self, TypedDict, cast

from ..errors import AddressError, NoInstanceError
from .checks import check_kind
from .discovery import Discovery
from .retrying import SAME_INSTANCE, Failure, failure, httpx, may_repeat

if TYPE_CHECKING:
    from httpx._types import (
        AuthTypes,
        CookieTypes,
        HeaderTypes,
        QueryParamTypes,
        RequestContent,
        RequestData,
        RequestExtensions,
        RequestFiles,
        TimeoutTypes,
    )

    from .instance import ServiceInstance
    from .pool import Pool
    from .strategies import Strategies

LOOK_AGAIN_S = 0.02
"""While there is no instance yet: how long until the next look (which costs microseconds, and no I/O)."""

log = logging.getLogger("nwdisco")


class BuildOptions(TypedDict, total=False):
    """What a request is made of: httpx's own arguments."""

    content: RequestContent | None
    data: RequestData | None
    files: RequestFiles | None
    json: object
    params: QueryParamTypes | None
    headers: HeaderTypes | None
    cookies: CookieTypes | None
    timeout: TimeoutTypes
    extensions: RequestExtensions | None


class SendOptions(TypedDict, total=False):
    """How httpx sends it."""

    auth: AuthTypes | None
    follow_redirects: bool


class CallOptions(BuildOptions, SendOptions, total=False):
    repeatable: bool | None
    """Whether to make it again when it may have been carried out already; None: as its method is."""


class Away:
    """Instances that failed, by their ids, and until when to keep away from them. For any thread."""

    def __init__(self, away_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._away_s = away_s
        self._clock = clock
        self._until: dict[str, float] = {}
        self._lock = threading.Lock()

    def failed(self, id: str) -> None:
        with self._lock:
            self._until[id] = self._clock() + self._away_s

    def answered(self, id: str) -> None:
        if id in self._until:
            with self._lock:
                self._until.pop(id, None)

    def now(self) -> set[str]:
        if not self._until:
            return set()
        with self._lock:
            now = self._clock()
            self._until = {id: until for id, until in self._until.items() if until > now}
            return set(self._until)


class Calls:
    """What all calls of one client share: the pool of instances, and which of them to keep away from."""

    def __init__(
        self,
        service: str,
        discovery: Discovery | None,
        strategy: Strategies,
        attempts: int,
        away_s: float,
        wait_s: float,
    ) -> None:
        self._discovery = Discovery() if discovery is None else discovery
        self._owns_discovery = discovery is None
        check_kind(self._discovery, Discovery, "give Discovery(source), or nothing for the local network")
        if attempts < 1:
            raise ValueError(f"attempts is {attempts}: give 1 or more")
        if not away_s >= 0 or not wait_s >= 0:
            raise ValueError(f"away_s is {away_s} and wait_s is {wait_s}: give 0 or more seconds")
        self.attempts = attempts
        self.wait_s = wait_s
        self.away = Away(away_s)
        self._service = service
        self._strategy = strategy
        self._pool: Pool | None = None
        self._closed = False
        self._lock = threading.Lock()

    @property
    def pool(self) -> Pool | None:
        """The service's instances; None until `open` was called, and again when somebody else closed it."""
        pool = self._pool
        return None if pool is None or pool.is_closed else pool

    def open(self) -> Pool:
        """Begin to follow the service (with the first call; asks the source, so it blocks)."""
        pool = self.pool
        if pool is not None:
            return pool
        with self._lock:
            if self._closed:
                raise RuntimeError(f"this client of {self._service!r} is closed: make a new one")
            self._pool = self._discovery.pool(self._service, self._strategy)
            return self._pool

    def close(self) -> None:
        """A discovery that was given stays open, and with it its pools, which it shares between clients."""
        with self._lock:
            self._closed, self._pool = True, None
            if self._owns_discovery:
                self._discovery.close()

    def call(self, method: str, path: str, options: CallOptions) -> Call:
        return Call(self, self.open(), method, path, options)


class Call:
    """One request's way from instance to instance."""

    def __init__(self, calls: Calls, pool: Pool, method: str, path: str, options: CallOptions) -> None:
        if not path.startswith("/"):
            if "://" in path.partition("?")[0]:
                raise ValueError(
                    f"{path[:80]!r} is a whole URL: give its path, such as '/jobs'; the rest is the instance's"
                )
            path = "/" + path  # or else "@other/" would make a user name of the instance's address
        self._calls = calls
        self._pool = pool
        self._until = time.monotonic() + calls.wait_s
        self._next: ServiceInstance | None = None
        self.method = method
        self.path = path
        self.repeatable = options.get("repeatable")
        sending = SendOptions.__annotations__
        self.sending = cast("SendOptions", {name: value for name, value in options.items() if name in sending})
        others = {name: value for name, value in options.items() if name not in sending and name != "repeatable"}
        self.building = cast("BuildOptions", others)  # a name that is none is refused by httpx
        self._tried: set[str] = set()
        self._spent: set[str] = set()
        """Of these, which not to try again."""
        self._story: list[str] = []
        self._left = calls.attempts

    def is_ready(self) -> bool:
        """Whether there is an instance to begin with. Raises NoInstanceError when none has come in time."""
        try:
            self._next = self._pick()
        except NoInstanceError:
            if time.monotonic() >= self._until or self._pool.is_closed:
                raise
            return False
        return True

    def attempt(self) -> Attempt:
        """The next one. There is one, when `is_ready` was true, and after each that swallowed its failure."""
        instance, self._next = self._next, None
        assert instance is not None
        self._tried.add(instance.id)
        self._left -= 1
        return Attempt(self, self._calls.away, self._pool, instance)

    def goes_on(self, attempt: Attempt, error: Exception, failed: Failure) -> bool:
        """After a failure: whether another attempt is there. If not, the error says what was tried."""
        instance = attempt.instance
        if not SAME_INSTANCE[failed]:
            self._spent.add(instance.id)
        self._story.append(f"{instance.service}/{instance.id} ({attempt.where}): {type(error).__name__}")
        if not may_repeat(failed, self.method, self.repeatable, attempt.body_is_there):
            why = (
                f"{self.method} may have been carried out, and is not made again"
                if attempt.body_is_there
                else "the body can be read only once"
            )
        elif self._left == 0:
            why = f"{self._calls.attempts} attempts are the most"
        else:
            try:
                self._next = self._pick()
            except NoInstanceError:
                why = "there is no other instance"
            else:
                log.info("%s %s failed at %s; trying another", self.method, self.path, self._story[-1])
                return True
        error.add_note(f"tried {', '.join(self._story)}; {why}")
        return False

    def _pick(self) -> ServiceInstance:
        away = self._calls.away.now()
        for avoid in (away | self._tried, self._tried):
            try:
                return self._pool.pick(avoid)
            except NoInstanceError:
                if not avoid:
                    raise
        return self._pool.pick(self._spent)


def is_short(response: httpx.Response, most: int) -> bool:
    """Whether an answer says that its body has so many bytes at most."""
    length = response.headers.get("Content-Length", "")
    return length.isdecimal() and int(length) <= most


def _check_host(instance: ServiceInstance, url: str) -> None:
    """AddressError for a hostname that passes as one, and that httpx or the resolver cannot read."""
    try:
        httpx.URL(url).host.encode("idna")
    except (httpx.InvalidURL, UnicodeError) as error:
        raise AddressError(
            f"the instance {instance.id!r} of {instance.service!r} is at {url[:80]!r}: {error}"
        ) from None


class Attempt:
    """One sending to one instance: a `with` around it. After an answer, `done` says that it is no longer in use."""

    def __init__(self, call: Call, away: Away, pool: Pool, instance: ServiceInstance) -> None:
        self.instance = instance
        self.where = "no address"
        self._call = call
        self._away = away
        self._pool = pool
        self._request: httpx.Request | None = None
        self._body: _SyncBody | _AsyncBody | None = None
        self._done = False

    def request(self, client: httpx.Client | httpx.AsyncClient) -> httpx.Request:
        """Made afresh for each instance: its URL, its host name, the cookies that are meant for it."""
        self.where = self.instance.url
        _check_host(self.instance, self.where)
        call = self._call
        request = client.build_request(call.method, self.where + call.path, **call.building)
        self._request = request
        if isinstance(request.stream, httpx.ByteStream):
            return request
        if isinstance(client, httpx.Client) and isinstance(request.stream, httpx.SyncByteStream):
            self._body = request.stream = _SyncBody(request.stream)
        elif isinstance(client, httpx.AsyncClient) and isinstance(request.stream, httpx.AsyncByteStream):
            self._body = request.stream = _AsyncBody(request.stream)
        return request

    @property
    def body_is_there(self) -> bool:
        """It can be sent from its start: text, bytes and JSON always, a file or an iterator until its reading has begun."""
        return self._body is None or not self._body.begun

    def answered(self) -> None:
        """The answer (or, of a stream, its beginning) is there."""
        self._away.answered(self.instance.id)

    def done(self) -> None:
        """The use has ended. Once counts."""
        if not self._done:
            self._done = True
            self._pool.done(self.instance)

    def broke(self, error: BaseException) -> Failure | None:
        """The use has ended with an error; what that says about the instance, which is kept away from if it is at fault."""
        self.done()
        failed = None if self._is_of_another_request(error) else failure(error)
        if failed is not None:
            self._away.failed(self.instance.id)
        return failed

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> bool:
        if error is None:
            return False
        failed = self.broke(error)
        return failed is not None and isinstance(error, Exception) and self._call.goes_on(self, error, failed)

    def _is_of_another_request(self, error: BaseException) -> bool:
        """One that a redirect or an authentication made: what came of ours is not known, and its server is not the instance."""
        if not isinstance(error, httpx.RequestError):
            return False
        try:
            return error.request is not self._request
        except RuntimeError:  # a transport of the caller's own did not say
            return False


class _SyncBody(httpx.SyncByteStream):
    """A body that can perhaps be read only once, and whether that was begun."""

    def __init__(self, stream: httpx.SyncByteStream) -> None:
        self._stream = stream
        self.begun = False

    def __iter__(self) -> Iterator[bytes]:
        self.begun = True
        yield from self._stream

    def close(self) -> None:
        self._stream.close()


class _AsyncBody(httpx.AsyncByteStream):
    def __init__(self, stream: httpx.AsyncByteStream) -> None:
        self._stream = stream
        self.begun = False

    async def __aiter__(self) -> AsyncIterator[bytes]:
        self.begun = True
        async for piece in self._stream:
            yield piece

    async def aclose(self) -> None:
        await self._stream.aclose()
