"""Whatever strangers send to one node of the LAN: it raises nothing, harms no other's adverts, brings back no more bytes."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from nwdisco import config
from nwdisco.core.datagrams import Ask, Beat, Bye, Change, Entry, Key, Message, Who, encode
from tests.test_lan import COOKIE, NONCE, PEER, STRANGER, Address, Node, tell

node_ids = st.sampled_from(["node-two", "node-bad", "node-own", "node-x_9"])
counters = st.sampled_from([0, 1, 2, 9_999, 10_000, 10_001, 2**31, 2**53]) | st.integers(0, 2**53)
proofs = st.sampled_from([NONCE, COOKIE, "ownone"])
texts = st.sampled_from(["a", "b", "a/b", "teacher", "x" * 255])
some_entries = st.lists(
    st.builds(
        Entry,
        texts,
        counters,
        st.none() | st.sampled_from([":80", ":", "1.2.3.4:5", "not an address", "::1"]),
        st.floats(0, 1e9),
        st.integers(0, 2**31),
        st.floats(config.MIN_TTL_S, config.MAX_TTL_S),
        st.dictionaries(st.sampled_from(["k", "l"]), st.text(max_size=20), max_size=2),
    ),
    max_size=3,
)
bounds = st.tuples(counters, counters).map(sorted)
changes = st.builds(
    lambda node, seq, place, horizon, ends, told: Change(node, seq, place, horizon, ends[0], ends[1], told),
    node_ids,
    counters,
    counters,
    counters,
    bounds,
    some_entries,
)
paddings = st.integers(0, 1300).map(lambda length: " " * length)
messages = (
    st.builds(Beat, node_ids, counters, counters, counters)
    | changes
    | st.builds(Who, proofs, paddings)
    | st.builds(Key, proofs, proofs, paddings)
    | st.builds(Ask, proofs, counters, counters)
    | st.builds(Bye, node_ids, counters)
)
arrivals = st.tuples(
    messages | st.binary(max_size=100),
    st.sampled_from([STRANGER, ("10.66.66.67", 1), ("10.66.66.68", 65535)]),
    st.booleans(),
    st.sampled_from([0.0, 0.001, 0.3, 3.0]),
)


@settings(max_examples=100)
@given(st.lists(arrivals, max_size=40))
def test_whatever_strangers_send_it_raises_nothing_and_leaves_the_adverts_of_others_alone(
    arrived: list[tuple[Message | bytes, Address, bool, float]],
) -> None:
    node = Node()
    node.lan.start(node.now)
    node.advertise("ours")
    kept = tell("node-kpt", 10_000, 0, "teacher", "b")
    got: dict[Address, int] = {}
    gave: dict[Address, int] = {}

    def count() -> None:
        for data, to in node.lan.outbox:
            if isinstance(to, tuple):
                gave[to] = gave.get(to, 0) + len(data)

    for beats, (message, source, direct, pause_s) in enumerate(arrived, 1):
        node.hear(kept)
        node.hear(Beat("node-kpt", 10_000 + beats, 2, 2))
        data = message if isinstance(message, bytes) else encode(message)
        node.lan.receive(data, source, node.now, direct)
        got[source] = got.get(source, 0) + len(data)
        count()
        node.lan.outbox.clear()
        end = node.now + pause_s
        while node.lan.due is not None and node.lan.due <= end:
            node.now = max(node.now, node.lan.due)
            node.lan.wake(node.now)
            count()
            node.lan.outbox.clear()
        node.now = end
        assert node.names_of("node-kpt") == ["b", "teacher"]
        assert {advert.address for advert in node.directory.held_by("node-kpt")} == {"10.0.0.2:80"}
        assert node.names_of("program") == ["ours"]
        assert all(sent <= got.get(to, 0) for to, sent in gave.items() if to != PEER), "more than it sent"
    assert node.lan.peers._early == sum(len(peer.early) for peer in node.lan.peers)


def test_to_an_address_without_proof_no_answer_is_longer_than_the_question() -> None:
    node = Node()
    node.advertise("printer/a", {"text": "x" * 600})
    node.sent()
    for question in (Who(NONCE), Who(NONCE, " " * 9), Who(NONCE, " " * 10), Who(NONCE, " " * 1300)):
        source = ("10.66.0.1", len(question.padding) + 1)
        asked = answered = 0
        for direct in (True, False, True, True):
            node.now += 1
            asked += len(encode(question))
            answered += sum(len(encode(answer)) for answer in node.hear(question, source, direct))
            assert answered <= asked
        assert answered > 0
