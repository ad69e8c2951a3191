"""Messages as bytes, the helpers and the errors: what NetworkZero's programs send, use and catch. No sockets here."""

from __future__ import annotations

import base64
import json
import pickle
import subprocess
import sys
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import nwdisco as nw0
from nwdisco import messages
from nwdisco.config import MAX_MESSAGE_BYTES
from nwdisco.messages import Foreign

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)


# --- messages ---------------------------------------------------------------------------------------------


@given(JSON)
def test_a_message_arrives_as_it_was_sent(message: Any) -> None:
    assert messages.decode(messages.encode(message)) == message


@given(JSON)
def test_networkzero_reads_our_messages_and_we_read_its(message: Any) -> None:
    assert json.loads(messages.encode(message).decode("utf-8")) == message
    assert messages.decode(json.dumps(message).encode("utf-8")) == message
    assert messages.decode(json.dumps(message, ensure_ascii=False).encode("utf-8")) == message


def test_a_tuple_arrives_as_a_list_and_a_number_as_key_as_text() -> None:
    assert messages.decode(messages.encode((1, {2: (3,)}))) == [1, {"2": [3]}]


def endless() -> list[Any]:
    found: list[Any] = []
    found.append(found)
    return found


def deep() -> list[Any]:
    found: list[Any] = []
    for _ in range(100_000):
        found = [found]
    return found


UNSERIALISABLE = {
    "bytes": b"bytes",
    "a set": {1, 2},
    "an object": object(),
    "a function": len,
    "bytes within": {"picture": [b"bytes"]},
    "a tuple as key": {(1, 2): 3},
    "a complex number": 1j,
    "a list that holds itself": endless(),
    "lists in lists in lists": deep(),
    "a number of 5,000 digits": 10**5000,
}


@pytest.mark.parametrize("message", UNSERIALISABLE.values(), ids=UNSERIALISABLE)
def test_what_no_json_can_hold_is_an_error_that_says_what_to_send(message: Any) -> None:
    with pytest.raises(nw0.MessageError, match=r"cannot be sent.*: send text, numbers.*bytes_to_string"):
        messages.encode(message)


def test_a_message_has_32_mib_at_most() -> None:
    most = MAX_MESSAGE_BYTES - len('""')
    assert len(messages.encode("x" * most)) == MAX_MESSAGE_BYTES == 32 * 2**20
    for too_long in ("x" * (most + 1), "x" * 100_000_000):
        with pytest.raises(nw0.MessageError, match=f"takes {len(too_long) + 2} bytes, and 32 MiB is the most"):
            messages.encode(too_long)


FOREIGN = (b"", b"hello", b"{", b"\xff\xfe\xfd", b"\x00", b"'one'", b"[" * 100_000, b"1" * 5000, b"[1] and more")


@pytest.mark.parametrize("data", FOREIGN, ids=lambda data: repr(data[:10]))
def test_bytes_that_are_no_message_are_foreign(data: bytes) -> None:
    with pytest.raises(Foreign, match=r"\w"):
        messages.decode(data)


@given(st.binary())
def test_any_bytes_are_a_message_or_foreign(data: bytes) -> None:
    with suppress(Foreign):
        json.dumps(messages.decode(data))


# --- news -------------------------------------------------------------------------------------------------


@given(st.text(), JSON)
def test_news_arrive_as_they_were_sent(topic: str, data: Any) -> None:
    frames = messages.encode_news(topic, data)
    assert frames == [topic.encode(), json.dumps(data).encode()]
    assert messages.decode_news(frames, is_raw=False) == (topic, data)


@given(st.binary())
def test_bytes_as_news_go_as_they_are(data: bytes) -> None:
    assert messages.encode_news("picture", data) == [b"picture", data]
    assert messages.decode_news([b"picture", data], is_raw=True) == ("picture", data)


@pytest.mark.parametrize("topic", [None, 5, b"bytes", ["a"], "half a character: \ud800"])
def test_a_topic_that_is_no_text_is_an_error(topic: Any) -> None:
    with pytest.raises(nw0.MessageError, match="topic"):
        messages.encode_news(topic, 1)


@pytest.mark.parametrize("data", UNSERIALISABLE.values(), ids=UNSERIALISABLE)
def test_news_that_no_json_can_hold_is_an_error(data: Any) -> None:
    if isinstance(data, bytes):
        return
    with pytest.raises(nw0.MessageError, match="cannot be sent"):
        messages.encode_news("topic", data)


def test_news_have_32_mib_at_most() -> None:
    assert len(messages.encode_news("raw", bytes(MAX_MESSAGE_BYTES))[1]) == MAX_MESSAGE_BYTES
    too_large: list[tuple[str, Any]] = [("t", bytes(MAX_MESSAGE_BYTES + 1)), ("t", "x" * MAX_MESSAGE_BYTES)]
    for topic, data in (*too_large, ("t" * (MAX_MESSAGE_BYTES + 1), 1)):
        with pytest.raises(nw0.MessageError, match="32 MiB is the most"):
            messages.encode_news(topic, data)


@given(st.lists(st.binary(), max_size=4), st.booleans())
def test_any_frames_are_news_or_foreign(frames: list[bytes], is_raw: bool) -> None:
    try:
        topic, data = messages.decode_news(frames, is_raw)
    except Foreign:
        return
    assert topic.encode() == frames[0]
    assert not is_raw or data == frames[1]


@pytest.mark.parametrize("frames", [[], [b"one"], [b"a", b"1", b"2"], [b"\xff", b"1"], [b"topic", b"no json"]])
def test_frames_that_are_no_news_are_foreign(frames: list[bytes]) -> None:
    with pytest.raises(Foreign):
        messages.decode_news(frames, is_raw=False)


# --- the way back -----------------------------------------------------------------------------------------


def test_the_way_back_is_all_before_the_message() -> None:
    assert messages.split_envelope([b"peer", b"", b"1"]) == ([b"peer", b""], b"1")
    assert messages.split_envelope([b"proxy", b"peer", b"", b"1"]) == ([b"proxy", b"peer", b""], b"1")


@pytest.mark.parametrize("frames", [[], [b"peer"], [b"peer", b"1"], [b"peer", b""], [b"peer", b"", b"1", b"2"]])
def test_frames_without_a_way_back_are_foreign(frames: list[bytes]) -> None:
    with pytest.raises(Foreign):
        messages.split_envelope(frames)


@given(st.lists(st.binary(max_size=2), max_size=6))
def test_any_frames_have_a_way_back_or_are_foreign(frames: list[bytes]) -> None:
    try:
        envelope, data = messages.split_envelope(frames)
    except Foreign:
        return
    assert [*envelope, data] == frames
    assert envelope[-1] == b""


# --- helpers ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("commandline", "action", "params"),
    [
        ("DRAW", "DRAW", []),
        ("move 10 20", "move", ["10", "20"]),
        ("  say   hello  ", "say", ["hello"]),
        ("say 'hello, world' \"it's me\"", "say", ["hello, world", "it's me"]),
        ("say ''", "say", [""]),
        ("écris «à»", "écris", ["«à»"]),
    ],
)
def test_a_command_line_is_an_action_and_its_params(commandline: str, action: str, params: list[str]) -> None:
    assert nw0.action_and_params(commandline) == (action, params)


@pytest.mark.parametrize("commandline", ["", "   ", "say 'hello"])
def test_a_command_line_that_is_none_is_an_error(commandline: str) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        nw0.action_and_params(commandline)


@given(st.binary())
def test_bytes_go_as_text_and_come_back(data: bytes) -> None:
    text = nw0.bytes_to_string(data)
    assert text == base64.b64encode(data).decode("ascii")
    assert nw0.string_to_bytes(messages.decode(messages.encode(text))) == data


@pytest.mark.parametrize("text", ["a", "äöü", "no base 64", None, 5, b"bytes"])
def test_text_that_was_never_bytes_is_an_error(text: Any) -> None:
    with pytest.raises(nw0.MessageError, match="does not come from bytes_to_string"):
        nw0.string_to_bytes(text)


# --- errors -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "others"),
    [
        ("SocketTimedOutError", ()),
        ("SocketAlreadyExistsError", ()),
        ("SocketInterruptedError", (KeyboardInterrupt,)),
        ("AddressError", ()),
        ("InvalidAddressError", (nw0.AddressError,)),
        ("NoAddressFoundError", (nw0.AddressError,)),
        ("DifferentThreadError", ()),
        ("ServiceGoneError", ()),
        ("MessageError", (TypeError,)),
    ],
)
def test_the_errors_that_networkzeros_programs_catch_have_their_names(name: str, others: tuple[type, ...]) -> None:
    error = getattr(nw0, name)
    assert nw0.NetworkZeroError is nw0.NwdiscoError
    for base in (nw0.NetworkZeroError, *others):
        assert issubclass(error, base), f"{name} is no {base.__name__}"
    assert name in nw0.__all__


def test_the_errors_of_waits_tell_how_long_they_lasted() -> None:
    timed_out, interrupted = nw0.SocketTimedOutError(2.5), nw0.SocketInterruptedError(1.25)
    assert timed_out.n_seconds == 2.5
    assert "2.5 s" in str(timed_out)
    assert interrupted.after_n_seconds == 1.25
    assert "1.2 s" in str(interrupted)


@pytest.mark.parametrize(
    "error",
    [
        nw0.SocketTimedOutError(2.5),
        nw0.SocketInterruptedError(1.25),
        nw0.ServiceGoneError("gone"),
        nw0.MessageError("no"),
        nw0.NameTakenError("a", "127.0.0.1:1"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_an_error_gets_home_from_a_process_of_multiprocessing(error: Exception) -> None:
    back = pickle.loads(pickle.dumps(error))
    assert type(back) is type(error)
    assert (str(back), vars(back)) == (str(error), vars(error))


def test_importing_nwdisco_does_not_import_zmq() -> None:
    code = "import sys, nwdisco; print(sorted({'zmq', 'asyncio', 'msgspec'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stdout == "[]\n", done.stderr
