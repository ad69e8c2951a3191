"""The clients of a service for the tests, and a shop of instances in a registry in memory for them to ask."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import httpx
import pytest

from nwdisco.services import (
    AsyncServiceClient,
    Discovery,
    MemoryRegistry,
    RegistrySource,
    RoundRobin,
    ServiceClient,
    ServiceInstance,
)
from tests.web import NobodyHome, Way, WebService, answers


class InLoop:
    """An AsyncServiceClient, driven by blocking calls."""

    def __init__(self, service: str, **options: Any) -> None:
        self._runner = asyncio.Runner()
        self.own: httpx.AsyncClient | None = None
        self.client = self._runner.run(self._made(service, options))

    async def _made(self, service: str, options: dict[str, Any]) -> AsyncServiceClient:
        """In the loop. An httpx.Client of the test's own becomes one for asyncio."""
        if "client" in options:
            self.own = httpx.AsyncClient(headers=options["client"].headers)
            options = {**options, "client": self.own}
        return AsyncServiceClient(service, **options)

    def by_verb(self, verb: str, path: str, **options: Any) -> httpx.Response:
        response: httpx.Response = self._runner.run(getattr(self.client, verb)(path, **options))
        return response

    def request(self, method: str, path: str, **options: Any) -> httpx.Response:
        if isinstance(options.get("content"), Iterator):
            options["content"] = _as_async(options["content"])
        return self._runner.run(self.client.request(method, path, **options))

    @contextmanager
    def stream(self, method: str, path: str, **options: Any) -> Iterator[Iterator[bytes]]:
        streaming = self.client.stream(method, path, **options)
        response = self._runner.run(streaming.__aenter__())
        pieces = response.aiter_raw()
        try:
            yield iter(lambda: self._runner.run(anext(pieces, b"")), b"")
        except BaseException as error:
            if not self._runner.run(streaming.__aexit__(type(error), error, error.__traceback__)):
                raise
        else:
            self._runner.run(streaming.__aexit__(None, None, None))

    def close(self) -> None:
        self._runner.run(self.client.aclose())

    def end(self) -> None:
        self.close()
        if self.own is not None:
            self._runner.run(self.own.aclose())
        self._runner.close()


async def _as_async(pieces: Iterator[bytes]) -> Any:
    for piece in pieces:
        yield piece


class Blocking:
    def __init__(self, service: str, **options: Any) -> None:
        self.client = ServiceClient(service, **options)
        self.own: httpx.Client | None = options.get("client")

    def by_verb(self, verb: str, path: str, **options: Any) -> httpx.Response:
        response: httpx.Response = getattr(self.client, verb)(path, **options)
        return response

    def request(self, method: str, path: str, **options: Any) -> httpx.Response:
        return self.client.request(method, path, **options)

    @contextmanager
    def stream(self, method: str, path: str, **options: Any) -> Iterator[Iterator[bytes]]:
        with self.client.stream(method, path, **options) as response:
            yield response.iter_raw()

    def close(self) -> None:
        self.client.close()

    end = close


Client = Blocking | InLoop


def by_name(instances: Sequence[ServiceInstance]) -> ServiceInstance:
    """The first of those that it may be: tests know whom a request meets first."""
    return min(instances, key=lambda instance: instance.id)


class Counting(RoundRobin):
    """How many uses have begun, and not ended."""

    def __init__(self) -> None:
        super().__init__()
        self.under_way = 0

    def pick(self, avoid: Any = ()) -> ServiceInstance | None:
        instance = super().pick(avoid)
        self.under_way += instance is not None
        return instance

    def done(self, instance: ServiceInstance) -> None:
        self.under_way -= 1


class Shop:
    """Instances of the service "shop" in a registry in memory, and clients of it; all are closed after the test."""

    def __init__(self, kind: type[Client], ends: ExitStack) -> None:
        self._ends = ends
        self._kind = kind
        source = RegistrySource(MemoryRegistry())
        self.discovery = Discovery(source)
        ends.callback(self.discovery.close)

    def instance(self, id: str, way: Way = answers) -> WebService:
        web = WebService(id, way)
        self._ends.callback(web.close)
        self.register(id, web.address)
        return web

    def register(self, id: str, address: str) -> Any:
        return self.discovery.register("shop", address=address, id=id)

    def refusing(self, id: str) -> None:
        nobody = NobodyHome()
        self._ends.callback(nobody.close)
        self.register(id, nobody.address)

    def client(self, **options: Any) -> Client:
        client = self._kind("shop", **{"discovery": self.discovery, "strategy": by_name, "wait_s": 0.0, **options})
        self._ends.callback(client.end)
        return client


def is_asked(web: WebService) -> list[str]:
    return [asked.method for asked in web.asked]


BOTH = [pytest.param(Blocking, id="blocking"), pytest.param(InLoop, id="asyncio")]
"""For a fixture: what one client promises, the other promises too."""
