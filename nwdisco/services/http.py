"""HTTP requests to a service by its name, on httpx: an instance is found, and another one where the first does not answer.

    from nwdisco.services import ServiceClient
    with ServiceClient("printer") as printers:
        printers.post("/jobs", json={"pages": 3})

Everything of httpx can be given and is passed on; a response is httpx's. http_async.py has the same for asyncio; which
instances a call tries is in http_calls.py, when a request is made again in retrying.py.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Self, Unpack

from .http_calls import LOOK_AGAIN_S, Attempt, CallOptions, Calls, is_short
from .retrying import httpx

if TYPE_CHECKING:
    from .discovery import Discovery
    from .strategies import Strategies


class ServiceClient:
    """A client of one service, for any thread.

    `discovery`: where to find it; None: on the LAN. `strategy`: which instance each request goes to (strategies.py).
    `attempts`: how many sendings a request has at most, the first one included. `away_s`: how long to keep away from an
    instance that failed; when all have failed, they are used all the same. `wait_s`: how long to wait for a first instance.
    `client`: an httpx.Client of one's own, which stays open. Or give its arguments here; then no proxy is taken from the
    environment unless `trust_env` is True: instances are addressed directly.

    The service is followed from the first request on (or the start of a `with`) until `close`; by a discovery that was given,
    until that one is closed.
    """

    def __init__(
        self,
        service: str,
        *,
        discovery: Discovery | None = None,
        strategy: Strategies = "round robin",
        attempts: int = 3,
        away_s: float = 5.0,
        wait_s: float = 5.0,
        client: httpx.Client | None = None,
        **httpx_options: Any,
    ) -> None:
        if client is not None and httpx_options:
            raise ValueError(f"give {', '.join(httpx_options)} to the httpx.Client itself, or leave out client")
        self._calls = Calls(service, discovery, strategy, attempts, away_s, wait_s)
        self._is_own = client is None
        self._client = httpx.Client(**{"trust_env": False, **httpx_options}) if client is None else client

    def request(self, method: str, path: str, **options: Unpack[CallOptions]) -> httpx.Response:
        """The answer of an instance, whatever its status, read to its end.

        `options` are those of httpx.Client.request, and `repeatable`: whether the request may be made again when it may
        have been carried out; by default as its method is. Raises NoInstanceError when there was no instance in `wait_s`; when no
        attempt succeeded, the last one's httpx.TransportError, with a note of what was tried.
        """
        response, attempt = self._send(method, path, None, options)
        attempt.done()
        return response

    @contextmanager
    def stream(
        self, method: str, path: str, *, read_ahead: int = 0, **options: Unpack[CallOptions]
    ) -> Iterator[httpx.Response]:
        """The answer as soon as it begins, to be read in the `with`. What breaks there is raised, and not tried again.

        `read_ahead`: an answer that is known to have so many bytes at most is read before, and so as safe as one of `request`.
        """
        response, attempt = self._send(method, path, read_ahead, options)
        try:
            yield response
        except BaseException as error:
            attempt.broke(error)
            raise
        finally:
            attempt.done()
            response.close()

    def get(self, path: str, **options: Unpack[CallOptions]) -> httpx.Response:
        return self.request("GET", path, **options)

    def post(self, path: str, **options: Unpack[CallOptions]) -> httpx.Response:
        return self.request("POST", path, **options)

    def put(self, path: str, **options: Unpack[CallOptions]) -> httpx.Response:
        return self.request("PUT", path, **options)

    def patch(self, path: str, **options: Unpack[CallOptions]) -> httpx.Response:
        return self.request("PATCH", path, **options)

    def delete(self, path: str, **options: Unpack[CallOptions]) -> httpx.Response:
        return self.request("DELETE", path, **options)

    def head(self, path: str, **options: Unpack[CallOptions]) -> httpx.Response:
        return self.request("HEAD", path, **options)

    def options(self, path: str, **options: Unpack[CallOptions]) -> httpx.Response:
        return self.request("OPTIONS", path, **options)

    def close(self) -> None:
        """No longer follow the service, and close what is the client's own."""
        self._calls.close()
        if self._is_own:
            self._client.close()

    def __enter__(self) -> Self:
        self._calls.open()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _send(
        self, method: str, path: str, read_ahead: int | None, options: CallOptions
    ) -> tuple[httpx.Response, Attempt]:
        """`read_ahead` None: read it to its end, whatever its length."""
        call = self._calls.call(method, path, options)
        while not call.is_ready():
            time.sleep(LOOK_AGAIN_S)
        while True:
            with call.attempt() as attempt:
                request = attempt.request(self._client)
                response = self._client.send(request, stream=read_ahead is not None, **call.sending)
                if read_ahead and is_short(response, read_ahead):
                    _read(response)
                attempt.answered()
                return response, attempt


def _read(response: httpx.Response) -> None:
    """Take in a body as it came, still to be read and decoded by whoever gets the response."""
    arriving = response.stream
    assert isinstance(arriving, httpx.SyncByteStream)
    try:
        response.stream = httpx.ByteStream(b"".join(arriving))
    finally:
        arriving.close()
