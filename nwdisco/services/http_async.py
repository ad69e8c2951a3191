"""The HTTP client of http.py for asyncio: the same names, arguments and promises, to be awaited.

Cancelling a request ends it at once, wherever it is.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Self, Unpack

from .http_calls import LOOK_AGAIN_S, Attempt, CallOptions, Calls, is_short
from .retrying import httpx

if TYPE_CHECKING:
    from .discovery import Discovery
    from .strategies import Strategies


class AsyncServiceClient:
    """A client of one service, for the tasks of one event loop. See ServiceClient."""

    def __init__(
        self,
        service: str,
        *,
        discovery: Discovery | None = None,
        strategy: Strategies = "round robin",
        attempts: int = 3,
        away_s: float = 5.0,
        wait_s: float = 5.0,
        client: httpx.AsyncClient | None = None,
        **httpx_options: Any,
    ) -> None:
        if client is not None and httpx_options:
            raise ValueError(f"give {', '.join(httpx_options)} to the httpx.AsyncClient itself, or leave out client")
        self._calls = Calls(service, discovery, strategy, attempts, away_s, wait_s)
        self._is_own = client is None
        self._client = httpx.AsyncClient(**{"trust_env": False, **httpx_options}) if client is None else client

    async def request(self, method: str, path: str, **options: Unpack[CallOptions]) -> httpx.Response:
        """See ServiceClient.request."""
        response, attempt = await self._send(method, path, None, options)
        attempt.done()
        return response

    @asynccontextmanager
    async def stream(
        self, method: str, path: str, *, read_ahead: int = 0, **options: Unpack[CallOptions]
    ) -> AsyncIterator[httpx.Response]:
        """See ServiceClient.stream."""
        response, attempt = await self._send(method, path, read_ahead, options)
        try:
            yield response
        except BaseException as error:
            attempt.broke(error)
            raise
        finally:
            attempt.done()
            await response.aclose()

    async def get(self, path: str, **options: Unpack[CallOptions]) -> httpx.Response:
        return await self.request("GET", path, **options)

    async def post(self, path: str, **options: Unpack[CallOptions]) -> httpx.Response:
        return await self.request("POST", path, **options)

    async def put(self, path: str, **options: Unpack[CallOptions]) -> httpx.Response:
        return await self.request("PUT", path, **options)

    async def patch(self, path: str, **options: Unpack[CallOptions]) -> httpx.Response:
        return await self.request("PATCH", path, **options)

    async def delete(self, path: str, **options: Unpack[CallOptions]) -> httpx.Response:
        return await self.request("DELETE", path, **options)

    async def head(self, path: str, **options: Unpack[CallOptions]) -> httpx.Response:
        return await self.request("HEAD", path, **options)

    async def options(self, path: str, **options: Unpack[CallOptions]) -> httpx.Response:
        return await self.request("OPTIONS", path, **options)

    async def aclose(self) -> None:
        """No longer follow the service, and close what is the client's own."""
        await asyncio.to_thread(self._calls.close)
        if self._is_own:
            await self._client.aclose()

    async def __aenter__(self) -> Self:
        await asyncio.to_thread(self._calls.open)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def _send(
        self, method: str, path: str, read_ahead: int | None, options: CallOptions
    ) -> tuple[httpx.Response, Attempt]:
        if self._calls.pool is None:
            await asyncio.to_thread(self._calls.open)
        call = self._calls.call(method, path, options)
        while not call.is_ready():
            await asyncio.sleep(LOOK_AGAIN_S)
        while True:
            with call.attempt() as attempt:
                request = attempt.request(self._client)
                response = await self._client.send(request, stream=read_ahead is not None, **call.sending)
                if read_ahead and is_short(response, read_ahead):
                    await _read(response)
                attempt.answered()
                return response, attempt


async def _read(response: httpx.Response) -> None:
    """See http.py."""
    arriving = response.stream
    assert isinstance(arriving, httpx.AsyncByteStream)
    try:
        response.stream = httpx.ByteStream(b"".join([piece async for piece in arriving]))
    finally:
        await arriving.aclose()
