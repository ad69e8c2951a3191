"""Messages, replies and news between NetworkZero's programs, as they are on PyPI, and nwdisco's: both ways, on two hosts."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests import networkzero_peer
from tests.machines import Failed, wait_until
from tests.namespaces import Network
from tests.networkzero_hosts import a_host, theirs, with_link

MESSAGE = {"to": "all", "list": [1, 2.5, None, True], "text": "grüße"}


@pytest.fixture
def python() -> str:
    return networkzero_peer.python()


def test_a_message_and_its_reply_go_both_ways(network: Network, python: str) -> None:
    a, b = a_host(network), with_link(network)
    nz, ours = theirs(a, python), b.program()
    address = ours.call("advertise", "ours")
    assert nz.call("discover", "ours", 10) == address
    for number in range(3):
        nz.begin("send_message_to", address, [number, MESSAGE], 10)
        assert ours.call("wait_for_message_from", address, 10) == [number, MESSAGE]
        ours.call("send_reply_to", address, {"got": number})
        assert nz.end() == {"got": number}
    their_address = nz.call("advertise", "theirs")
    assert ours.call("discover", "theirs", 10) == their_address
    for number in range(3):
        ours.begin("send_message_to", their_address, [number, MESSAGE], 10)
        assert nz.call("wait_for_message_from", their_address, 10) == [number, MESSAGE]
        nz.call("send_reply_to", their_address, {"got": number})
        assert ours.end() == {"got": number}
    ours.begin("send_message_to", their_address, "and no reply but an empty one", 10)
    nz.call("wait_for_message_from", their_address, 10, autoreply=True)
    assert ours.end() is None


def test_news_go_both_ways_and_the_first_is_not_lost(network: Network, python: str) -> None:
    a, b = a_host(network), with_link(network)
    nz, ours = theirs(a, python), b.program()
    waiting = theirs(a, python)
    address = ours.call("advertise", "ours/news")
    assert waiting.call("discover", "ours/news", 10) == address
    waiting.begin("wait_for_news_from", address, "temp", 10)
    # NetworkZero sleeps for half a second before it subscribes; then it waits in poll.
    wait_until(lambda: "poll" in Path(f"/proc/{waiting.pid}/wchan").read_text(), "NetworkZero's subscriber at work")
    for topic in ("humidity", "temperature"):
        ours.call("send_news_to", address, topic, MESSAGE)
    assert waiting.end() == ["temperature", MESSAGE]
    their_address = nz.call("advertise", "theirs/news")
    assert ours.call("discover", "theirs/news", 10) == their_address
    ours.begin("wait_for_news_from", their_address, "temp", 20)
    for number in range(40):  # NetworkZero sleeps after its first, and may lose it
        nz.call("send_news_to", their_address, "humidity", 0)
        nz.call("send_news_to", their_address, "temperature", number)
        if number == 20:
            break
    topic, number = ours.end()
    assert (topic, 0 <= number <= 20) == ("temperature", True)


def test_a_networkzero_listener_that_is_killed_while_one_waits_for_its_reply_is_noticed(
    network: Network, python: str
) -> None:
    a, b = a_host(network), with_link(network)
    nz, ours = theirs(a, python), b.program()
    their_address = nz.call("advertise", "theirs")
    assert ours.call("discover", "theirs", 10) == their_address
    ours.begin("send_message_to", their_address, "hello")
    assert nz.call("wait_for_message_from", their_address, 10) == "hello"
    nz.kill()
    with pytest.raises(Failed, match="ServiceGoneError"):
        ours.end()
