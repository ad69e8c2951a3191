"""Datagrams: what is sent is read back; whatever else arrives is refused, and nothing but that happens."""

from __future__ import annotations

from contextlib import suppress
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nwdisco import config
from nwdisco.core import datagrams, names
from nwdisco.core.advert import Advert
from nwdisco.core.datagrams import Ask, Beat, Bye, Change, Entry, Foreign, Key, Malformed, Message, Who, decode, encode
from nwdisco.core.journal import Journal
from nwdisco.core.telling import Teller
from nwdisco.core.timers import Timers
from nwdisco.errors import AdvertError

EXAMPLES: list[Message] = [
    Beat("RXx2n2RB", 10_001, 7, 3),
    Change(
        "RXx2n2RB",
        10_002,
        1,
        0,
        5,
        8,
        [
            Entry("printer/ä", 6, ":8080", 0.25, 2, 5.0, {"colour": "yes", "text": 'a\n"\\'}),
            Entry("gone", 7),
            Entry("lamp", 8, "192.168.1.7:80"),
        ],
    ),
    Who("QRmIhG", " " * 10),
    Key("QRmIhG", "OIKmA8"),
    Ask("OIKmA8", 0, 471),
    Bye("RXx2n2RB", 10_003),
]


@pytest.mark.parametrize("message", EXAMPLES, ids=lambda message: type(message).__name__)
def test_each_kind_is_read_as_it_was_sent(message: Message) -> None:
    assert decode(encode(message)) == message


@pytest.mark.parametrize("message", EXAMPLES, ids=lambda message: type(message).__name__)
def test_more_at_the_end_is_left_to_later_versions(message: Message) -> None:
    assert decode(encode(message)[:-1] + b',"later",{"x":[1]}]') == message


@pytest.mark.parametrize("message", EXAMPLES, ids=lambda message: type(message).__name__)
def test_cut_off_anywhere_it_is_refused(message: Message) -> None:
    data = encode(message)
    for length in range(len(data)):
        with pytest.raises((Foreign, Malformed)):
            decode(data[:length])


@pytest.mark.parametrize("message", EXAMPLES, ids=lambda message: type(message).__name__)
def test_with_any_byte_changed_it_is_read_or_refused(message: Message) -> None:
    data = encode(message)
    for place in range(len(data)):
        for byte in (0, 0x22, 0x39, 0x5B, 0x7F, 0xFF):
            with_another = data[:place] + bytes([byte]) + data[place + 1 :]
            with suppress(Foreign, Malformed):
                decode(with_another)


@given(st.binary(max_size=1500) | st.binary(max_size=300).map(lambda data: b"nw1[" + data))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    with suppress(Foreign, Malformed):
        decode(data)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=300)
@given(st.sampled_from(["beat", "change", "who", "key", "ask", "bye"]), st.lists(json_values, max_size=8))
def test_a_known_kind_with_any_json_in_it_is_read_or_refused(kind: str, values: list[object]) -> None:
    data = b"nw1" + datagrams._encoder.encode([kind, *values])
    try:
        message = decode(data)
    except (Foreign, Malformed):
        return
    assert decode(encode(message)) == message


@pytest.mark.parametrize("data", [b"", b"n", b"nw1", b'nw2["beat"]', b'["beat"]', b"\x00" * 40, b'NW1["bye"]'])
def test_what_does_not_begin_as_ours_is_foreign(data: bytes) -> None:
    with pytest.raises(Foreign):
        decode(data)


CHANGE = b'nw1["change","RXx2n2RB",1,0,0,0,9,[%s]]'


@pytest.mark.parametrize(
    "data",
    [
        b'nw1["beat","RXx2n2RB",-1,0,0]',
        b'nw1["beat","RXx2n2RB",1.5,0,0]',
        b'nw1["beat","RXx2n2RB","1",0,0]',
        b'nw1["beat","RXx2n2RB",null,0,0]',
        b'nw1["beat","RXx2n2RB",true,0,0]',
        b'nw1["beat","RXx2n2RB",9007199254740993,0,0]',
        b'nw1["beat","RXx2n2RB",1' + b"0" * 400 + b",0,0]",
        b'nw1["beat","RXx2n2RB",1e999,0,0]',
        b'nw1["beat","RXx2n2RB",NaN,0,0]',
        b'nw1["beat","short",1,0,0]',
        b'nw1["beat","much too long",1,0,0]',
        b'nw1["beat",["RXx2n2RB"],1,0,0]',
        b'nw1["beat","RXx2n2RB",1,0]',
        b'nw1["beat"]',
        b"nw1[]",
        b"nw1[7]",
        b'nw1["other",1]',
        b'nw1["beat","RXx2n2RB",1,0,0]garbage',
        b'nw1["bye","RXx2n2R\xff",1]',
        b'nw1["bye","RXx2n2R\\ud800",1]',
        b'nw1["change","RXx2n2RB",1,0,0,9,8,[]]',
        CHANGE % b'["",1,":1"]',
        CHANGE % b'["a",1,""]',
        CHANGE % b'["a",1,7]',
        CHANGE % b'["a\\n",1,":1"]',
        CHANGE % b'["a\\u001b[2J",1,":1"]',
        CHANGE % b'["a\xe2\x80\xa8",1,":1"]',
        CHANGE % b'["a\\ud800",1,":1"]',
        CHANGE % b'["a",1,":1\\u0000"]',
        CHANGE % b'["a",1,":1",-1]',
        CHANGE % b'["a",1,":1",NaN]',
        CHANGE % b'["a",1,":1",Infinity]',
        CHANGE % b'["a",1,":1",1e10]',
        CHANGE % b'["a",1,":1",0,-1]',
        CHANGE % b'["a",1,":1",0,4294967296]',
        CHANGE % b'["a",1,":1",0,0,0.5]',
        CHANGE % b'["a",1,":1",0,0,100000]',
        CHANGE % b'["a",1,":1",0,0,5,{"":"x"}]',
        CHANGE % b'["a",1,":1",0,0,5,{"a\\n":"x"}]',
        CHANGE % b'["a",1,":1",0,0,5,{"a":7}]',
        CHANGE % b'["a",1,":1",0,0,5,{"a":null}]',
        CHANGE % b'["a",1,":1",0,0,5,["a"]]',
        CHANGE % (b'["%s",1,":1"]' % (b"x" * 256)),
        CHANGE % b",".join([b'["a"]'] * 201),
        b"nw1" + b"[" * 1300,
        b"nw1" + b"[" * 10_000,
        b'nw1["beat",' + b'{"a":' * 250,
        b'nw1["beat","RXx2\\n2RB",1,0,0]',
        b'nw1["beat","RXx2 2RB",1,0,0]',
        encode(Beat("RXx2n2RB", 1, 0, 0)) + b" " * config.MAX_DATAGRAM_BYTES,
    ],
    ids=lambda data: repr(bytes(data[:60])),
)
def test_what_breaks_the_rules_is_malformed(data: bytes) -> None:
    with pytest.raises(Malformed):
        decode(data)


def largest(text: st.SearchStrategy[str], limit: int) -> st.SearchStrategy[str]:
    """Texts of just so many bytes as JSON, or a few fewer."""

    def stretch(unit: str) -> str:
        return unit * ((limit) // (names.json_bytes(unit) - 2))

    return text.map(stretch)


units = st.text(min_size=1, max_size=3).filter(lambda text: text < "\ud800" or text > "\udfff")
clean_units = units.filter(names.is_clean)


@settings(max_examples=200)
@given(
    largest(clean_units, config.MAX_NAME_BYTES),
    largest(clean_units, config.MAX_ADDRESS_BYTES),
    largest(units, config.MAX_PROPERTIES_BYTES - len('{"k":""}')),
    st.floats(config.MIN_TTL_S, config.MAX_TTL_S),
    st.floats(0, 1e9),
)
def test_the_largest_advert_allowed_fits_one_datagram_whatever_its_characters(
    name: str, address: str, value: str, ttl_s: float, age_s: float
) -> None:
    names.check_name(name)
    names.check_address_text(address)
    properties = names.check_properties({"k": value})
    advert = Advert(name, address, properties, ttl_s, "RXx2n2RB", "program", 0.0, 2**31)
    entry = datagrams.encode_entry(name, 2**53, advert, age_s)
    data = datagrams.encode_change("RXx2n2RB", 2**53, 2**53, 2**53, 2**53 - 1, 2**53, [entry])
    assert len(data) <= config.MAX_DATAGRAM_BYTES
    change = decode(data)
    assert isinstance(change, Change)
    (read,) = change.entries
    assert (read.name, read.address, read.properties, read.ttl_s) == (name, address, properties, ttl_s)


@settings(max_examples=50)
@given(st.lists(st.tuples(st.text(max_size=80), st.text(max_size=200)), max_size=60))
def test_whatever_a_node_tells_of_fits_datagrams_that_link_up_and_can_be_read(said: list[tuple[str, str]]) -> None:
    sent: list[bytes] = []
    teller = Teller("RXx2n2RB", Timers(), Random(1), lambda d, b: sent.append(d), _to_nobody, 0.0)
    told: dict[str, str] = {}
    journal = Journal()
    for name, value in said:
        try:
            names.check_name(name)
            properties = names.check_properties({"k": value})
        except AdvertError:
            continue
        told[name] = value
        advert = Advert(name, ":1", properties, 5.0, "RXx2n2RB", "program", 0.0, picked=True)
        journal.write(name, advert, 0.0)
    teller.journal = journal
    version = 0
    read: dict[str, str] = {}
    for data, reached in teller._changes(0, journal.version, 0.0, 1000):
        assert len(data) <= config.MAX_DATAGRAM_BYTES
        change = decode(data)
        assert isinstance(change, Change)
        assert (change.since, change.until) == (version, reached)
        version = reached
        read.update((entry.name, entry.properties["k"]) for entry in change.entries)
    assert version == journal.version
    assert read == told


def _to_nobody(data: bytes, address: tuple[str, int]) -> None:
    raise AssertionError("nobody asked")
