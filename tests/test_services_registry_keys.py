"""What is a key and what are values: the rules that every registry checks before it does anything."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nwdisco.errors import RegistryKeyError
from nwdisco.services.registry import MAX_AT_ONCE, MAX_KEY_BYTES, MAX_VALUE_BYTES, check_key, check_values

PART = st.text(st.characters(exclude_categories=("C", "Z"), exclude_characters="/"), min_size=1, max_size=20)


@given(parts=st.lists(PART, min_size=1, max_size=10))
def test_printable_parts_between_slashes_are_a_key_as_they_stand(parts: list[str]) -> None:
    assert check_key("/".join(parts)) == "/".join(parts)


@given(parts=st.lists(PART, min_size=1, max_size=10))
def test_one_slash_before_it_is_left_out(parts: list[str]) -> None:
    assert check_key("/" + "/".join(parts)) == "/".join(parts)


@given(key=st.text(st.characters() | st.sampled_from("/ a\0\n")), or_top=st.booleans())
def test_any_text_is_a_key_of_printable_parts_that_are_not_empty_or_is_refused(key: str, or_top: bool) -> None:
    try:
        bare = check_key(key, or_top=or_top)
    except RegistryKeyError:
        return
    assert bare == key.removeprefix("/")
    assert check_key(bare, or_top=or_top) == bare
    assert bare.isprintable()
    assert len(bare.encode()) <= MAX_KEY_BYTES
    assert (or_top and bare == "") or all(bare.split("/"))


@pytest.mark.parametrize("key", ["", "/"])
def test_the_top_is_a_key_only_where_it_may_be(key: str) -> None:
    assert check_key(key, or_top=True) == ""
    with pytest.raises(RegistryKeyError, match="empty part"):
        check_key(key)


@pytest.mark.parametrize(
    ("key", "why"),
    [
        ("a//b", "empty part"),
        ("a/", "empty part"),
        ("//a", "empty part"),
        ("//", "empty part"),
        ("a\nb", "cannot be printed"),
        ("a\0", "cannot be printed"),
        ("\x1b[2J", "cannot be printed"),
        ("\u202ea", "cannot be printed"),
        ("\ud800", "cannot be printed"),
        ("x" * (MAX_KEY_BYTES + 1), "at most 1024 bytes"),
        ("é" * (MAX_KEY_BYTES // 2 + 1), "at most 1024 bytes"),
        (b"a", "not bytes"),
        (None, "not NoneType"),
        (5, "not int"),
    ],
)
def test_what_is_no_key_is_refused_with_the_reason_in_text_that_can_be_printed(key: str, why: str) -> None:
    for or_top in (False, True):
        with pytest.raises(RegistryKeyError, match=why) as refused:
            check_key(key, or_top=or_top)
        assert str(refused.value).isprintable()


def test_a_key_may_be_as_long_as_the_most() -> None:
    for key in ("x" * MAX_KEY_BYTES, "é" * (MAX_KEY_BYTES // 2)):
        assert check_key(key) == check_key("/" + key) == key


def test_values_come_back_under_their_bare_keys_in_their_order() -> None:
    values = {"/b": "1", "a": "", "c": "\0\n", "d": "x" * MAX_VALUE_BYTES}
    assert list(check_values(values).items()) == [("b", "1"), ("a", ""), ("c", "\0\n"), ("d", values["d"])]


def test_as_many_values_as_the_most_are_taken() -> None:
    values = {str(number): "1" for number in range(MAX_AT_ONCE)}
    assert check_values(values) == values


@pytest.mark.parametrize(
    ("values", "why"),
    [
        ({}, "1 to 100 values at once, not 0"),
        ({str(number): "1" for number in range(MAX_AT_ONCE + 1)}, "not 101"),
        ({"a": 5}, "'a' is text, not int"),
        ({"a": None}, "'a' is text, not NoneType"),
        ({"a": b"1"}, "'a' is text, not bytes"),
        ({"a": "\ud800"}, "'a' cannot be written as UTF-8"),
        ({"a": "x" * (MAX_VALUE_BYTES + 1)}, "'a' has 524289 bytes"),
        ({"a": "é" * (MAX_VALUE_BYTES // 2 + 1)}, "'a' has 524290 bytes"),
        ({"a": "1", "/a": "2"}, "'a' stands twice"),
        ({"a": "1", "b//c": "2"}, "empty part"),
        ({5: "1"}, "a key is text, not int"),
    ],
)
def test_values_are_refused_with_the_reason(values: dict[str, str], why: str) -> None:
    with pytest.raises(RegistryKeyError, match=why):
        check_values(values)
