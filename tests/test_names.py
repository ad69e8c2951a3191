"""What an advert may say, and that a refusal says what was wrong with what."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nwdisco import config
from nwdisco.core import names
from nwdisco.errors import AdvertError, NwdiscoError


@pytest.mark.parametrize("name", ["a", "printer/a", "Drucker für Ä", "打印机", "x" * 255, "\N{PILE OF POO}", " "])
def test_ordinary_names_are_taken_as_they_are(name: str) -> None:
    assert names.check_name(name) == name


@pytest.mark.parametrize(
    ("name", "says"),
    [
        (None, "None, of type NoneType"),
        (True, "True, of type bool"),
        (b"printer", "b'printer', of type bytes"),
        (7, "7, of type int"),
        (["a"], "of type list"),
        ("", "is empty"),
        ("a\nb", r"'a\nb' holds a control character"),
        ("a\x00", "control character"),
        ("a\x7f", "control character"),
        ("a\x9b31m", "control character"),
        ("a\u2028b", "line break"),
        ("a\u2029b", "line break"),
        ("a\ud800", "lone surrogate"),
        ("x" * 256, "over 255 bytes"),
        ("é" * 128, "over 255 bytes"),
        ('"' * 128, "over 255 bytes"),
    ],
)
def test_a_name_that_cannot_be_is_refused_with_the_reason(name: Any, says: str) -> None:
    with pytest.raises(AdvertError) as refused:
        names.check_name(name)
    assert says in str(refused.value)
    assert isinstance(refused.value, NwdiscoError)
    assert isinstance(refused.value, ValueError)


def test_a_refusal_names_what_was_checked_and_can_be_printed() -> None:
    with pytest.raises(AdvertError, match="the group is empty"):
        names.check_name("", "group")
    with pytest.raises(AdvertError) as refused:
        names.check_name("\ud800" * 3)
    str(refused.value).encode()


@given(st.text(alphabet=st.characters(codec=None)))
def test_any_text_is_either_a_name_that_fits_or_refused(text: str) -> None:
    try:
        names.check_name(text)
    except AdvertError as refused:
        str(refused).encode()
    else:
        assert len(json.dumps(text, ensure_ascii=False).encode()) - 2 <= config.MAX_NAME_BYTES
        assert len(text.splitlines()) == 1


@pytest.mark.parametrize("address", ["", "x" * 256, "a\nb", "\x1b[2J", "\ud800:1"])
def test_an_address_that_cannot_be_is_refused(address: str) -> None:
    with pytest.raises(AdvertError):
        names.check_address_text(address)


def test_no_properties_are_an_empty_dict_and_those_given_are_copied() -> None:
    assert names.check_properties(None) == {}
    given_ones = {"colour": "yes"}
    taken = names.check_properties(given_ones)
    assert taken == given_ones
    assert taken is not given_ones


@pytest.mark.parametrize(
    ("properties", "says"),
    [
        (7, "properties are 7"),
        ("text", "properties are 'text'"),
        ({"pages": 7}, "'pages': 7 is not text to text: write 'pages': '7'"),
        ({"on": True}, "'on': True is not text to text"),
        ({1: "a"}, "1: 'a' is not text to text"),
        ({"a": None}, "'a': None is not text to text"),
        ({"a": b"b"}, "is not text to text"),
        ({"": "a"}, "empty name"),
        ({"a\n": "b"}, "control character"),
        ({"a": "\udfff"}, "lone surrogate"),
        ({"a": "x" * 701}, "700 is the most"),
        ({"a": "\x00" * 200}, "700 is the most"),
    ],
)
def test_properties_that_cannot_be_are_refused_with_the_reason(properties: Any, says: str) -> None:
    with pytest.raises(AdvertError) as refused:
        names.check_properties(properties)
    assert says in str(refused.value)


@pytest.mark.parametrize("ttl_s", [1, 1.0, 5, 86_400])
def test_a_time_to_live_within_the_limits_is_a_float(ttl_s: float) -> None:
    taken = names.check_ttl(ttl_s)
    assert taken == ttl_s
    assert isinstance(taken, float)


@pytest.mark.parametrize("ttl_s", [0, -1, 0.99, 86_401, float("nan"), float("inf"), True, "5", None, 10**400])
def test_a_time_to_live_that_cannot_be_is_refused(ttl_s: Any) -> None:
    with pytest.raises(AdvertError, match="ttl_s is"):
        names.check_ttl(ttl_s)


def test_a_wait_is_seconds_or_for_ever() -> None:
    assert names.check_wait(0) == 0.0
    assert names.check_wait(2) == 2.0
    assert names.check_wait(config.FOREVER) is None
    assert names.check_wait(float("inf")) is None
    assert names.check_wait(10**400) is None


@pytest.mark.parametrize("wait_for_s", [-1, -0.001, float("nan"), float("-inf"), None, True, "1"])
def test_a_wait_that_cannot_be_is_refused(wait_for_s: Any) -> None:
    with pytest.raises(ValueError, match="wait_for_s is"):
        names.check_wait(wait_for_s)
