"""What is given in the place of something else is told of where it was given, with what to give."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from nwdisco.errors import RegistryKeyError
from nwdisco.services import (
    AsyncServiceClient,
    Discovery,
    JsonPerInstance,
    LanSource,
    MemoryRegistry,
    RegistrySource,
    ServiceClient,
)


@pytest.fixture
def registry() -> Iterator[MemoryRegistry]:
    with MemoryRegistry() as registry:
        yield registry


Slip = Callable[[Any], object]
SLIPS: dict[str, tuple[Slip, str]] = {
    "a registry for a source": (
        lambda registry: Discovery(registry),
        r"MemoryRegistry is no Source: give RegistrySource\(registry\) for a registry",
    ),
    "a class for a source": (lambda _: Discovery(LanSource), r"LanSource is the class: give one of it, LanSource\("),  # type: ignore[arg-type]
    "a source for a registry": (
        lambda registry: RegistrySource(RegistrySource(registry)),  # type: ignore[arg-type]
        r"RegistrySource is no Registry: give MemoryRegistry\(\)",
    ),
    "a class for a registry": (lambda _: RegistrySource(MemoryRegistry), r"give one of it, MemoryRegistry\("),  # type: ignore[arg-type]
    "a class for a schema": (
        lambda registry: RegistrySource(registry, JsonPerInstance),  # type: ignore[arg-type]
        r"JsonPerInstance is the class: give one of it",
    ),
    "a name for a schema": (
        lambda registry: RegistrySource(registry, "json"),  # type: ignore[arg-type]
        r"str is no Schema: give JsonPerInstance\(\)",
    ),
    "a source for a discovery": (
        lambda registry: ServiceClient("printer", discovery=RegistrySource(registry)),  # type: ignore[arg-type]
        r"RegistrySource is no Discovery: give Discovery\(source\)",
    ),
    "a source for a discovery, with asyncio": (
        lambda registry: AsyncServiceClient("printer", discovery=RegistrySource(registry)),  # type: ignore[arg-type]
        r"RegistrySource is no Discovery: give Discovery\(source\)",
    ),
}


@pytest.mark.parametrize(("slip", "told"), list(SLIPS.values()), ids=list(SLIPS))
def test_one_thing_for_another_is_refused_where_it_is_given(registry: MemoryRegistry, slip: Slip, told: str) -> None:
    with pytest.raises(ValueError, match=told):
        slip(registry)


def test_values_that_are_no_dict_are_refused(registry: MemoryRegistry) -> None:
    with pytest.raises(RegistryKeyError, match="values are a dict of key to text, not list"):
        registry.put_all([("a", "b")])  # type: ignore[arg-type]


def test_a_function_that_gives_an_id_is_told_to_give_the_instance(registry: MemoryRegistry) -> None:
    with Discovery(RegistrySource(registry)) as discovery:
        discovery.register("printer", id="a1")
        with pytest.raises(ValueError, match=r"chose 'a1', which is none .*: return one of them, or None"):
            discovery.locate("printer", lambda instances: instances[0].id)  # type: ignore[arg-type, return-value]
