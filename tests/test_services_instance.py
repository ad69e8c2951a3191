"""An instance of a service as a value: what it holds, what it refuses, and where it says it is."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nwdisco.errors import AddressError, RegistryKeyError
from nwdisco.services.instance import ServiceInstance

PLACE = {"hostname": "192.168.1.7", "port": "8080"}


def an(**properties: str) -> ServiceInstance:
    return ServiceInstance("shop", "printer", "a1", properties)


def test_it_says_where_it_is() -> None:
    assert an(**PLACE).address == "192.168.1.7:8080"
    assert an(**PLACE).url == "http://192.168.1.7:8080"
    assert an(**PLACE, protocol="https").url == "https://192.168.1.7:8080"
    assert an(hostname="[fe80::1]", port="80").url == "http://[fe80::1]:80"


@pytest.mark.parametrize(
    ("properties", "missing"),
    [
        ({}, "no hostname and no port"),
        ({"port": "80"}, "no hostname:"),
        ({"hostname": "a"}, "no port:"),
        ({"hostname": "", "port": "80"}, "no hostname:"),
    ],
)
def test_without_an_address_it_says_what_is_missing(properties: dict[str, str], missing: str) -> None:
    with pytest.raises(AddressError, match=f"'a1' of 'printer' has {missing}"):
        an(**properties).address  # noqa: B018


@pytest.mark.parametrize("hostname", ["a b", "a/b", "user@host", "a?x", "a#x", "a\\b", "a\nb"])
def test_a_hostname_that_would_lead_elsewhere_is_none(hostname: str) -> None:
    with pytest.raises(AddressError, match="which is none"):
        an(hostname=hostname, port="80").url  # noqa: B018


@pytest.mark.parametrize("port", ["0", "65536", "-1", "http", "8 0", "٣", "9" * 5000])
def test_a_port_that_is_none_is_refused(port: str) -> None:
    with pytest.raises(AddressError, match="from 1 to 65535"):
        an(hostname="a", port=port).address  # noqa: B018


@pytest.mark.parametrize("protocol", ["", "1http", "ht tp", "http://evil/?"])
def test_a_protocol_that_is_none_is_refused(protocol: str) -> None:
    with pytest.raises(AddressError, match="a word such as 'http'"):
        an(**PLACE, protocol=protocol).url  # noqa: B018


@pytest.mark.parametrize("part", ["", "a/b", "a\nb", "a\0", "\ud800", 7, None, b"a"])
@pytest.mark.parametrize("place", [0, 1, 2])
def test_a_cluster_service_or_id_that_cannot_be_is_refused(part: Any, place: int) -> None:
    parts: list[Any] = ["shop", "printer", "a1"]
    parts[place] = part
    with pytest.raises(RegistryKeyError, match=("cluster", "service", "id")[place]):
        ServiceInstance(*parts)


@pytest.mark.parametrize(
    "properties",
    [
        {"": "x"},
        {"a/b": "x"},
        {"a\n": "x"},
        {1: "x"},
        {"port": 80},
        {"a": None},
        {"a": "\ud800"},
        [("a", "b")],
        "ab",
        None,
    ],
)
def test_properties_are_text_to_text(properties: Any) -> None:
    with pytest.raises(RegistryKeyError, match="propert"):
        ServiceInstance("shop", "printer", "a1", properties)


def test_a_value_may_be_any_text() -> None:
    assert an(motd="one\ntwo\0/ü").properties["motd"] == "one\ntwo\0/ü"


def test_nobody_can_change_it_nor_the_dict_that_it_was_made_of() -> None:
    given_properties = {"port": "80"}
    instance = ServiceInstance("shop", "printer", "a1", given_properties)
    given_properties["port"] = "81"
    assert instance.properties == {"port": "80"}
    with pytest.raises(TypeError):
        instance.properties["port"] = "81"  # type: ignore[index]
    with pytest.raises(AttributeError):
        instance.id = "a2"  # type: ignore[misc]


def test_it_is_equal_to_one_with_the_same_properties_and_known_by_its_key() -> None:
    assert an(port="80") == an(port="80")
    assert an(port="80") != an(port="81")
    assert len({an(port="80"), an(port="80"), an(port="81")}) == 2
    assert an(port="80").key == an(port="81").key == ("shop", "printer", "a1")


@given(st.dictionaries(st.text("abc", min_size=1), st.text(st.characters(exclude_categories=["Cs"]))))
def test_it_can_be_copied_pickled_and_shown(properties: dict[str, str]) -> None:
    instance = ServiceInstance("shop", "printer", "a1", properties)
    assert copy.deepcopy(instance) == pickle.loads(pickle.dumps(instance)) == instance
    assert eval(repr(instance)) == instance
