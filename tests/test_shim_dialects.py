"""The shim's two dialects as bytes, and what their requests mean, without a socket."""

from __future__ import annotations

import json
import struct
import sys
from contextlib import suppress
from math import inf
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nwdisco import config
from nwdisco.core import lines, shim
from nwdisco.core.advert import Advert
from nwdisco.core.answers import Answers
from nwdisco.core.directory import Directory
from nwdisco.core.framed import Framed
from nwdisco.core.lines import Lines
from nwdisco.core.refused import Broken, Refused
from nwdisco.core.shim import Answer, Service, Shim, Wanted

names = st.text("ab/", min_size=1, max_size=5) | st.just("all")
QUERY = shim.QueryKey("redis")
MESSAGES: list[tuple[dict[str, Any], shim.Request]] = [
    ({"type": "register", "key": "k", "values": "v", "timeout": "5"}, shim.RegisterKey("k", "v", "5")),
    ({"type": "register", "key": "k", "values": "v", "timeout": 5}, shim.RegisterKey("k", "v", 5)),
    ({"type": "register", "key": "k", "values": "v"}, shim.RegisterKey("k", "v")),
    ({"type": "query", "key": "all"}, shim.QueryKey("all")),
    ({"type": "destruction", "key": "k"}, shim.Destruction("k")),
    ({"type": "heartbeat", "key": "k"}, shim.HeartbeatKey("k")),
    ({"type": "watch", "key": "k"}, shim.WatchKey("k")),
    ({"action": "register", "type": "t", "ip": "10.0.0.1", "port": 80}, shim.Register("t", "10.0.0.1", 80)),
    ({"action": "heartbeat", "uuid": "u"}, shim.Heartbeat(uuid="u")),
    ({"action": "heartbeat", "service_uuid": "u"}, shim.Heartbeat(service_uuid="u")),
    ({"action": "query", "type": "query"}, shim.Query("query")),
    ({"action": "watch", "type": "register"}, shim.Watch("register")),
]


def frame(content: bytes, **changed: object) -> bytes:
    header = {"byteorder": "little", "content-type": "text/json", "content-encoding": "utf-8"}
    header_bytes = json.dumps({**header, "content-length": len(content), **changed}).encode()
    return struct.pack(">H", len(header_bytes)) + header_bytes + content


def unpack(data: bytes) -> tuple[dict[str, Any], bytes]:
    size = int.from_bytes(data[:2], "big")
    header = json.loads(data[2 : 2 + size])
    content = data[2 + size :]
    assert header["content-length"] == len(content)
    return header, content


@pytest.mark.parametrize(("message", "request_"), MESSAGES)
def test_each_line_is_taken_for_the_request_that_it_is(message: dict[str, Any], request_: shim.Request) -> None:
    assert lines.decode(json.dumps(message).encode()) == request_


@given(st.data())
def test_lines_cut_and_glued_in_any_way_are_the_same_requests(data: st.DataObject) -> None:
    ends = [data.draw(st.sampled_from(["\n", "\r\n", "\r\n\r\n", " \n\n"])) for _ in MESSAGES]
    stream = "".join(json.dumps(message) + end for (message, _), end in zip(MESSAGES, ends, strict=True)).encode()
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=20)))
    dialect, found = Lines(), []
    for begin, end in zip([0, *cuts], [*cuts, len(stream)], strict=True):
        dialect.feed(stream[begin:end])
        while (request := dialect.next()) is not None:
            found.append(request)
    assert found == [request for _, request in MESSAGES]
    assert dialect.rest == b""


def test_a_frame_is_complete_at_its_last_byte_and_not_before() -> None:
    data = frame(b'{"action":"query","type":"hive"}')
    dialect = Framed()
    for byte in data[:-1]:
        dialect.feed(bytes([byte]))
        assert dialect.next() is None
    dialect.feed(data[-1:])
    assert dialect.next() == shim.Query("hive")


def test_a_bad_line_is_refused_and_the_next_is_served() -> None:
    dialect = Lines()
    dialect.feed(
        b'{"type":1}\r\nhello\r\n'
        + b"[" * 5000
        + b"\n"
        + b'{"type":"query","key":"\xff"}\n{"type":"query","key":"redis"}\n'
    )
    for _ in range(4):
        with pytest.raises(Refused, match="this is no request") as caught:
            dialect.next()
        assert not isinstance(caught.value, Broken)
    assert dialect.next() == QUERY


@pytest.mark.parametrize("first", [b"POST / HTTP/1.1", b"hello", b"[1]", b'"x"'])
def test_a_first_line_that_is_no_object_ends_the_conversation_for_it_may_be_a_browser_s(first: bytes) -> None:
    dialect = Lines()
    dialect.feed(b"\r\n" + first + b'\r\n\r\n{"type":"destruction","key":"k"}\n')
    with pytest.raises(Broken, match="no line of JSON"):
        dialect.next()


def test_a_byte_order_mark_before_the_first_line_is_skipped() -> None:
    dialect = Lines()
    dialect.feed(b'\xef\xbb\xbf{"type":"query","key":"redis"}\n')
    assert dialect.next() == QUERY


@pytest.mark.parametrize("end", [b"", b"\n"])
def test_a_line_that_is_too_long_ends_the_conversation(end: bytes) -> None:
    dialect = Lines()
    dialect.feed(b"x" * (config.MAX_SHIM_MESSAGE + 1) + end)
    with pytest.raises(Broken, match="8192 bytes at most"):
        dialect.next()


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"\xff\xff", "the header takes 65535 bytes: 2048 at most"),
        (b"\x08\x01", "the header takes 2049 bytes"),
        (b"\x00\x02[]", "this is no header"),
        (b"\x00\x02{}", "missing required field `byteorder`"),
        (b"\x00\x01\xff", "this is no header"),
        (b"\x07\xd0" + b"[" * 2000, "this is no header"),
        (frame(b"{}", **{"content-length": -1}), "`int` >= 0"),
        (frame(b"{}", **{"content-length": "2"}), "Expected `int`, got `str`"),
        (frame(b"{}", **{"content-length": True}), "Expected `int`, got `bool`"),
        (frame(b"{}", **{"content-length": 8193}), "the content-length is over 8192"),
        (frame(b"{}", **{"content-length": 10**30}), "the content-length is over 8192"),
        (frame(b"{}", **{"content-type": "binary/x"}), "the content-type is 'binary/x': it must be text/json"),
        (frame(b"{}", **{"content-encoding": "utf-16"}), "the content-encoding is 'utf-16': it must be utf-8"),
        (frame(b"{}", byteorder="middle"), "byteorder"),
        (frame(b"{}"), "missing required field `action`"),
        (frame(b"\xff\xfe"), "the content is no request"),
        (frame(b'{"action":"query","type":' + b"[" * 8000), "the content is no request"),
        (frame(b'{"action":"watch","type":"t"}'), "Invalid value 'watch'"),
    ],
)
def test_a_frame_that_is_none_is_refused_with_the_reason(data: bytes, reason: str) -> None:
    dialect = Framed()
    dialect.feed(data)
    with pytest.raises(Broken) as caught:
        dialect.next()
    assert reason in str(caught.value)


@given(st.binary(max_size=300), st.booleans())
def test_no_bytes_raise_anything_but_a_refusal(data: bytes, framed: bool) -> None:
    dialect: Lines | Framed = Framed() if framed else Lines()
    dialect.feed(data)
    with suppress(Refused):
        while dialect.next() is not None:
            pass


SERVICES = [Service("hive/u", "10.0.0.1:80", "10.0.0.1", 80, {}), Service("hive/x", "redis://x", properties={"a": "b"})]


def test_answers_in_lines_have_one_shape() -> None:
    dialect = Lines()
    assert dialect.encode(Answer()) == b'{"ok":true}\r\n'
    assert dialect.encode(Answer(uuid="u")) == b'{"ok":true,"uuid":"u"}\r\n'
    assert dialect.encode(Answer(event="left", services=SERVICES)) == (
        b'{"ok":true,"event":"left","services":['
        b'{"key":"hive/u","values":"10.0.0.1:80","ip":"10.0.0.1","port":80,"properties":{}},'
        b'{"key":"hive/x","values":"redis://x","properties":{"a":"b"}}]}\r\n'
    )
    assert dialect.encode_refusal(Refused("not_found", "why")) == b'{"ok":false,"error":"not_found","reason":"why"}\r\n'


def test_answers_in_frames_are_bare_texts_and_a_list_and_reasons_are_in_the_header() -> None:
    dialect = Framed()
    header, content = unpack(dialect.encode(Answer(uuid="u-1")))
    assert content == b"u-1"
    assert header == {
        "byteorder": sys.byteorder,
        "content-type": "text/plain",
        "content-encoding": "utf-8",
        "content-length": 3,
    }
    assert unpack(dialect.encode(Answer()))[1] == b"OK"
    header, content = unpack(dialect.encode(Answer(services=SERVICES)))
    assert (header["content-type"], json.loads(content)) == ("text/json", [{"ip": "10.0.0.1", "port": 80}])
    header, content = unpack(dialect.encode_refusal(Refused("not_found", "wärum")))
    assert (content, header["reason"]) == (b"NOT FOUND", "wärum")
    assert unpack(dialect.encode_refusal(Refused("over_limit", "why")))[1] == b"ERROR"


# --- what requests mean ---


class Desk:
    def __init__(self) -> None:
        self.directory = Directory("node-one")
        self.shim = Shim(self.directory, lambda: "10.1.1.1", lambda: f"uuid-{len(self.shim.registrations)}")

    def program(self, name: str, address: str = "10.9.9.9:9") -> None:
        """A program's advert, of another node."""
        self.directory.put(Advert(name, address, {}, 5, "node-two", "node-two", 0.0), 0.0)

    def find(self, request: shim.Query | shim.QueryKey, at: float, now: float) -> tuple[list[str], list[str]]:
        found = self.shim.find(request.wanted(), at, now)
        return [service.key for service in found.services], found.late


@pytest.fixture
def desk() -> Desk:
    return Desk()


def test_a_registered_service_is_an_advert_of_its_type_and_uuid_with_a_lease_of_five_seconds(desk: Desk) -> None:
    answer = desk.shim.act(shim.Register("hive", "127.0.0.1", 65433, {"a": "b"}), 0)
    assert answer == Answer(uuid="uuid-0")
    (advert,) = desk.directory.all()
    assert (advert.name, advert.address, advert.ttl_s) == ("hive/uuid-0", "127.0.0.1:65433", 5)
    assert (advert.properties, advert.picked) == ({"a": "b"}, False)


def test_where_the_ip_is_any_each_receiver_fills_in_its_own(desk: Desk) -> None:
    desk.shim.act(shim.Register("hive", "0.0.0.0", 80), 0)
    (advert,) = desk.directory.all()
    assert (advert.address, advert.address_on_the_wire) == ("10.1.1.1:80", ":80")
    desk.directory.readdress("10.2.2.2")
    assert desk.directory.all()[0].address == "10.2.2.2:80"


def test_a_registered_key_is_an_advert_at_its_values_for_its_timeout(desk: Desk) -> None:
    desk.shim.act(shim.RegisterKey("redis", "123456@127.0.0.1:6379", "7"), 0)
    desk.shim.act(shim.RegisterKey("other", "x"), 0)
    redis, other = desk.directory.get("redis"), desk.directory.get("other")
    assert redis is not None
    assert other is not None
    assert (redis.address, redis.ttl_s, other.ttl_s) == ("123456@127.0.0.1:6379", 7, 30)


def test_a_query_of_a_type_finds_its_group_and_the_service_named_so_and_a_key_that_one_alone(desk: Desk) -> None:
    for name in ("hive", "hive/a", "hive/b", "hiver", "hives/c"):
        desk.program(name)
    assert desk.find(shim.Query("hive"), 0, 0) == (["hive", "hive/a", "hive/b"], [])
    assert desk.find(shim.QueryKey("hive"), 0, 0) == (["hive"], [])
    assert desk.find(shim.QueryKey("nobody"), 0, 0) == ([], [])
    assert len(desk.find(shim.QueryKey("all"), 0, 0)[0]) == 5


def test_a_query_does_not_find_whose_heartbeat_is_five_seconds_old_but_knows_that_it_may_still_come(desk: Desk) -> None:
    desk.program("hive/program")
    desk.shim.act(shim.Register("hive", "127.0.0.1", 1), 0)
    assert desk.find(shim.Query("hive"), 4.999, 4.999) == (["hive/program", "hive/uuid-0"], [])
    assert desk.find(shim.Query("hive"), 5.0, 5.0) == (["hive/program"], ["hive/uuid-0"])
    assert desk.find(shim.Query("hive"), 5.0, 5.2) == (["hive/program"], [])
    desk.shim.act(shim.Heartbeat(uuid="uuid-0"), 5.1)
    assert desk.find(shim.Query("hive"), 5.0, 5.2) == (["hive/program", "hive/uuid-0"], [])


@pytest.mark.parametrize(
    ("request_", "code", "reason"),
    [
        (shim.Register("hive", "127.0.0.1", 66554), "bad_request", "the port 66554 is out of range"),
        (shim.Register("hive", "127.0.0.1", 0), "bad_request", "the port 0 is out of range"),
        (shim.Register("hive", "127.0.0.256", 1), "bad_request", "is no IPv4 address"),
        (shim.Register("hive", "example.com", 1), "bad_request", "is no IPv4 address"),
        (shim.Register("", "127.0.0.1", 1), "bad_request", "the type is empty"),
        (shim.Register("x" * 250, "127.0.0.1", 1), "bad_request", "over 255 bytes"),
        (shim.Register("a\nb", "127.0.0.1", 1), "bad_request", "control character"),
        (shim.Register("hive", "127.0.0.1", 1, {"": "x"}), "bad_request", "empty name"),
        (shim.RegisterKey("", "v"), "bad_request", "the name is empty"),
        (shim.RegisterKey("all", "v"), "bad_request", "asks for all keys"),
        (shim.RegisterKey("k", ""), "bad_request", "the address '' is empty"),
        (shim.RegisterKey("k", "x" * 256), "bad_request", "over 255 bytes"),
        (shim.RegisterKey("k", "v", 0.5), "bad_request", "the timeout is '0.5': give 1 to 86400 seconds"),
        (shim.RegisterKey("k", "v", -1), "bad_request", "give 1 to 86400 seconds"),
        (shim.RegisterKey("k", "v", "soon"), "bad_request", "the timeout is 'soon'"),
        (shim.RegisterKey("k", "v", "nan"), "bad_request", "the timeout is 'nan'"),
        (shim.RegisterKey("k", "v", "1_0"), "bad_request", "the timeout is '1_0'"),
        (shim.RegisterKey("k", "v", "３０"), "bad_request", "the timeout is '３０'"),
        (shim.Register("hive", "010.0.0.1", 1), "bad_request", "is no IPv4 address"),
        (shim.RegisterKey("k", "v", 10**400), "bad_request", "the timeout is"),
        (shim.Heartbeat(uuid="nobody"), "not_found", "register again"),
        (shim.Heartbeat(), "bad_request", "without a uuid"),
        (shim.HeartbeatKey("nobody"), "not_found", "register it again"),
        (shim.Destruction("program"), "not_yours", "was not registered here"),
    ],
)
def test_what_cannot_be_done_is_refused_with_the_reason_and_changes_nothing(
    desk: Desk, request_: shim.Request, code: str, reason: str
) -> None:
    desk.program("program")
    with pytest.raises(Refused) as caught:
        desk.shim.act(request_, 0)
    assert caught.value.code == code
    assert reason in str(caught.value)
    assert [advert.name for advert in desk.directory.all()] == ["program"]
    assert len(desk.shim.registrations) == 0


def test_destruction_takes_back_what_was_registered_and_is_fine_with_what_is_not_there(desk: Desk) -> None:
    desk.shim.act(shim.RegisterKey("k", "v"), 0)
    assert desk.shim.act(shim.Destruction("k"), 1) == Answer()
    assert desk.shim.act(shim.Destruction("k"), 1) == Answer()
    assert desk.directory.all() == []


def test_the_longest_advert_fits_a_message_however_it_is_escaped() -> None:
    longest = {
        "type": "register",
        "key": "k" * 255,
        "values": "v" * 255,
        "timeout": 86400,
        "properties": {"p": "x" * 690},
    }
    escaped = "".join(f"\\u{ord(c):04x}" if c in "kvx" else c for c in msgspec.json.encode(longest).decode())
    assert len(escaped) < config.MAX_SHIM_MESSAGE
    Desk().shim.act(lines.decode(escaped.replace("\\u006bey", "key").replace("\\u0076alues", "values").encode()), 0)


def test_an_answer_is_kept_until_its_first_lease_ends_or_something_changes() -> None:
    desk = Desk()
    answers, question, other = Answers(desk.directory), (Lines, Wanted("k", None)), (Framed, Wanted("k", None))
    answers.keep(question, b"yes", 5.0)
    assert (answers.get(question, 4.9), answers.get(question, 5.0), answers.get(other, 1)) == (b"yes", None, None)
    desk.program("k")
    assert answers.get(question, 1.0) is None
    answers.keep(question, b"yes", 5.0)
    answers.forget()
    assert answers.get(question, 1.0) is None


def test_an_answer_is_not_kept_when_who_holds_an_advert_changes_though_nobody_sees_a_change() -> None:
    desk = Desk()
    desk.shim.act(shim.RegisterKey("k", "10.9.9.9:9", 5), 0)
    desk.program("k")
    answers, question = Answers(desk.directory), (Lines, Wanted("k", None))
    answers.keep(question, b"yes", inf)
    desk.directory.remove_all("node-two")
    assert answers.get(question, 1.0) is None


@given(names, names)
def test_news_concern_just_those_whose_question_covers_the_name(name: str, asked: str) -> None:
    for question in (shim.Query(asked), shim.QueryKey(asked)):
        wanted = question.wanted()
        assert (wanted in shim.concerning(name)) == wanted.covers(name)


def test_answers_that_are_kept_take_no_more_memory_than_they_may() -> None:
    answers = Answers(Directory("node-one"))
    big = b"x" * (config.MAX_SHIM_REMEMBERED // 3)
    for number in range(100):
        answers.keep((Lines, Wanted(str(number), None)), big, 5.0)
    kept = [number for number in range(100) if answers.get((Lines, Wanted(str(number), None)), 0) is not None]
    assert kept[-1] == 99
    assert len(kept) <= 3
    for number in range(100_000):
        answers.keep((Lines, Wanted(f"{number:0255}", None)), b"", 5.0)
    assert len(answers._kept) < 20_000


def test_no_reason_is_long_whatever_was_sent() -> None:
    desk = Desk()
    long = "\x7f" * 8000
    requests: list[shim.Request] = [
        shim.HeartbeatKey(long),
        shim.Heartbeat(long),
        shim.Register(long, "10.0.0.1", 1),
        shim.Register("t", long, 1),
        shim.RegisterKey(long, "v"),
        shim.RegisterKey("k", long),
        shim.RegisterKey("k", "v", long),
        shim.RegisterKey("k", "v", 5, {long: "x"}),
        shim.RegisterKey("k", "v", 5, {"": long}),
    ]
    for request in requests:
        with pytest.raises(Refused) as caught:
            desk.shim.act(request, 0)
        assert len(str(caught.value)) < 500
