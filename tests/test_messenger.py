"""Messages and news between real programs, and what hurts with NetworkZero and must not here.

Bare ZeroMQ sockets in the test speak NetworkZero's wire: REQ and REP, PUB and SUB.
"""

from __future__ import annotations

import json
import signal
import socket
from typing import Any

import pytest
import zmq

from tests.machines import Failed, Machine, wait_until
from tests.messaging import asks, own_address
from tests.ports import free_port

# --- as NetworkZero has it --------------------------------------------------------------------------------


def test_a_message_is_replied_to(machine: Machine) -> None:
    service, asker = machine.program(), machine.program()
    address = service.call("advertise", "echo")
    for message in ("Alice", 5, 2.5, True, None, "", [1, [2, {}]], {"a": "ä☃\U0001f600"}, "\ud800"):
        asks(asker, asker.call("discover", "echo"), message)
        assert service.call("wait_for_message_from", address) == message
        service.call("send_reply_to", address, [message])
        assert asker.end() == [message]


def test_nothing_is_a_message_and_a_reply_and_autoreply_sends_it(machine: Machine) -> None:
    service, asker = machine.program(), machine.program()
    address = service.call("advertise", "echo")
    assert service.call("wait_for_message_from", address, wait_for_s=0) is None
    assert service.call("wait_for_message_from", address, wait_for_s=0.05, autoreply=True) is None
    asker.begin("send_message_to", address)
    assert service.call("wait_for_message_from", address, 20, autoreply=True) is None
    assert asker.end() is None
    asks(asker, address, "two")
    assert service.call("wait_for_message_from", address, 20) == "two"
    service.call("send_reply_to", address)
    assert asker.end() is None


def test_req_and_rep_sockets_at_the_other_end_are_served(machine: Machine, wire: zmq.Context[Any]) -> None:
    program = machine.program()
    program.begin("echo", address := own_address(), 2)
    req = wire.socket(zmq.REQ)
    req.connect(f"tcp://{address}")
    for message in (["grüß", 1], "again"):
        req.send(json.dumps(message).encode())
        assert req.recv_multipart() == [json.dumps(message).encode()]
    assert program.end() == 2
    rep = wire.socket(zmq.REP)
    port = rep.bind_to_random_port("tcp://127.0.0.1")
    for message in (["grüß", 1], "again"):
        asks(program, f"127.0.0.1:{port}", message)
        assert rep.recv_multipart() == [json.dumps(message).encode()]
        rep.send(b'"answer"')
        assert program.end() == "answer"


def test_news_of_several_addresses_and_prefixes_are_heard_and_no_others(machine: Machine) -> None:
    north, south, hearer = machine.program(), machine.program(), machine.program()
    addresses = [north.call("advertise", "weather/north"), south.call("advertise", "weather/south")]
    what = (addresses, ["wind", "rain"])
    assert hearer.call("wait_for_news_from", *what, wait_for_s=0) == [None, None]
    for publisher, address in zip((north, south), addresses, strict=True):
        publisher.call("send_news_to", address, "sun", 1)
        publisher.call("send_news_to", address, "wind/gusts", {"from": address})
        publisher.call("send_news_to", address, "rain")
    heard = hearer.call("collect_news", *what, 4)
    assert sorted(heard, key=str) == sorted(
        [["rain", None], ["rain", None], *(["wind/gusts", {"from": address}] for address in addresses)], key=str
    )
    north.call("send_news_to", addresses[0], "rain", "the last")
    assert hearer.call("wait_for_news_from", *what, wait_for_s=20) == ["rain", "the last"]


def test_pub_and_sub_sockets_at_the_other_end_are_served(machine: Machine, wire: zmq.Context[Any]) -> None:
    program = machine.program()
    sub = wire.socket(zmq.SUB)
    sub.reconnect_ivl = 100  # as NetworkZero's
    sub.subscribe(b"to")
    sub.connect(f"tcp://{(address := own_address())}")
    for topic, data in (("topic", ["ä", 1]), ("other", 2), ("to", None)):
        program.call("send_news_to", address, topic, data)
    assert [sub.recv_multipart(), sub.recv_multipart()] == [[b"topic", b'["\\u00e4", 1]'], [b"to", b"null"]]
    pub = wire.socket(zmq.XPUB)
    pub.rcvtimeo = 20_000
    where = f"127.0.0.1:{pub.bind_to_random_port('tcp://127.0.0.1')}"
    program.begin("wait_for_news_from", where, "to", 30)
    assert pub.recv() == b"\x01to"
    pub.send_multipart([b"topic", b'{"a": [1.5, null]}'])
    assert program.end() == ["topic", {"a": [1.5, None]}]


def test_bytes_as_news_come_as_they_were(machine: Machine) -> None:
    code = (
        "import nwdisco as nw0, threading\n"
        "address = nw0.address(':{port}')\n"
        "assert nw0.wait_for_news_from(address, 'raw', 0, is_raw=True) == (None, None)\n"
        "nw0.send_news_to(address, 'raw', bytes(range(256)))\n"
        "nw0.send_news_to(address, 'raw', 5)\n"
        "print([nw0.wait_for_news_from(address, 'raw', 20, is_raw=True) for _ in range(2)])\n"
    )
    done = machine.python(code.replace("{port}", str(free_port())))
    assert done.stdout == f"{[('raw', bytes(range(256))), ('raw', b'5')]}\n", done.stderr


def test_another_programs_address_stands_for_ones_own_advert(machine: Machine) -> None:
    """NetworkZero's documentation has a program that waits for messages at its master's address."""
    master, node = machine.program(), machine.program()
    at_master = master.call("advertise", "cluster/master")
    assert node.call("discover", "cluster/master") == at_master
    at_node = node.call("advertise", "cluster/node")
    asks(master, at_node)
    assert node.call("wait_for_message_from", at_master, 20, autoreply=True) == "hello"
    master.end()
    other = machine.program()
    for name in ("cluster/x", "cluster/y"):
        other.call("advertise", name)
    with pytest.raises(Failed, match="the addresses that you advertise yourself") as failed:
        other.call("wait_for_message_from", at_master, wait_for_s=0)
    assert failed.value.kind == "InvalidAddressError"


# --- after a timeout, the next send works -----------------------------------------------------------------


def test_after_a_timeout_the_next_send_gets_its_own_reply(machine: Machine) -> None:
    service, asker = machine.program(), machine.program()
    address = service.call("advertise", "slow")
    asker.begin("send_message_to", address, "one", wait_for_reply_s=0.5)
    assert service.call("wait_for_message_from", address, 20) == "one"
    with pytest.raises(Failed, match=r"no reply within 0\.5 s") as failed:
        asker.end()
    assert failed.value.kind == "SocketTimedOutError"
    service.call("send_reply_to", address, "too late")
    asks(asker, address, "two")
    assert service.call("wait_for_message_from", address, 20) == "two"
    service.call("send_reply_to", address, "in time")
    assert asker.end() == "in time"


def test_after_a_timeout_a_rep_socket_is_spoken_to_again(machine: Machine, wire: zmq.Context[Any]) -> None:
    asker, rep = machine.program(), wire.socket(zmq.REP)
    address = f"127.0.0.1:{rep.bind_to_random_port('tcp://127.0.0.1')}"
    for number in range(2):
        with pytest.raises(Failed, match="SocketTimedOutError"):
            asker.call("send_message_to", address, number, wait_for_reply_s=0.1)
    for number in range(2):  # it gets to what arrived meanwhile, and answers nobody
        assert rep.recv() == str(number).encode()
        rep.send(b'"too late"')
    asks(asker, address, 2)
    assert rep.recv() == b"2"
    rep.send(b'"in time"')
    assert asker.end() == "in time"


def test_timeouts_leave_no_file_descriptor(machine: Machine) -> None:
    asker = machine.program()
    address = own_address()  # where nobody is yet

    def time_out() -> None:
        with pytest.raises(Failed, match="SocketTimedOutError"):
            asker.call("send_message_to", address, wait_for_reply_s=0.001)

    time_out()
    before = asker.call("open_file_descriptors")
    for _ in range(30):
        time_out()
    wait_until(lambda: asker.call("open_file_descriptors") <= before + 2, f"no more than {before} descriptors")
    machine.program().begin("echo", address, 1)
    assert asker.call("send_message_to", address, "at last", wait_for_reply_s=20) == "at last"


# --- a message that was not replied to --------------------------------------------------------------------


def test_an_unanswered_message_does_not_wedge_the_listener(machine: Machine, wire: zmq.Context[Any]) -> None:
    service = machine.program()
    address = service.call("advertise", "forgetful")
    reqs = [wire.socket(zmq.REQ) for _ in range(3)]
    for number, req in enumerate(reqs):
        req.connect(f"tcp://{address}")
        req.send(str(number).encode())
        assert service.call("wait_for_message_from", address, 20) == number
    service.call("send_reply_to", address, "yours")
    assert reqs[2].recv() == b'"yours"', "the reply goes to who sent the last message"
    assert not any(req.poll(0) for req in reqs[:2])
    with pytest.raises(Failed, match="no message to reply to"):
        service.call("send_reply_to", address, "once more")
    reqs[2].send(b'"next"')
    assert service.call("wait_for_message_from", address, 20, autoreply=True) == "next"
    assert reqs[2].recv() == b"null"


def test_a_reply_to_who_is_gone_is_no_error_and_the_next_one_arrives(machine: Machine) -> None:
    service, asker, other = (machine.program() for _ in range(3))
    address = service.call("advertise", "echo")
    asks(asker, address)
    assert service.call("wait_for_message_from", address, 20) == "hello"
    asker.kill()
    asker.process.wait(20)
    service.call("send_reply_to", address, "for nobody")
    service.begin("echo", address, 1)
    assert other.call("send_message_to", address, "me", wait_for_reply_s=20) == "me"


# --- news -------------------------------------------------------------------------------------------------


def test_the_first_news_are_not_lost(machine: Machine) -> None:
    hearers = [machine.program() for _ in range(3)]
    publisher = machine.program()
    address = publisher.call("advertise", "weather")
    for hearer in hearers:
        hearer.call("wait_for_news_from", address, wait_for_s=0)
        hearer.begin("collect_news", address, "", 3)
    for number in range(3):
        publisher.call("send_news_to", address, "first", number)
    assert [hearer.end() for hearer in hearers] == [[["first", number] for number in range(3)]] * 3


def test_nobody_sleeps_for_the_first_news(machine: Machine) -> None:
    code = (
        "import nwdisco as nw0, time\n"
        "def timed(verb, *args, **kwargs):\n"
        "    began_at = time.monotonic()\n"
        "    verb(*args, **kwargs)\n"
        "    return time.monotonic() - began_at\n"
        "addresses = [nw0.advertise(f'weather/{number}') for number in range(8)]\n"
        "print(min(timed(nw0.send_news_to, address, 'first') for address in addresses))\n"
        "print(min(timed(nw0.wait_for_news_from, address, wait_for_s=0) for address in addresses))\n"
    )
    done = machine.python(code)
    assert done.returncode == 0, done.stderr
    publishing_s, waiting_s = (float(line) for line in done.stdout.split())
    assert publishing_s < 0.2, "the quickest of 8 first send_news_to"
    assert waiting_s < 0.2, "the quickest of 8 first wait_for_news_from"


def test_no_news_of_a_burst_is_lost_and_all_come_in_order(machine: Machine) -> None:
    publisher, hearers = machine.program(), [machine.program() for _ in range(2)]
    address = publisher.call("advertise", "burst")
    for hearer in hearers:
        hearer.call("wait_for_news_from", address, "n", 0)
        hearer.begin("collect_news", address, "n", 15_000)
    publisher.call("publish", address, "n", 15_000)
    for hearer in hearers:
        assert [number for _, number in hearer.end()] == list(range(15_000))


def test_a_subscriber_that_is_stopped_does_not_stop_the_publisher_or_the_others(machine: Machine) -> None:
    publisher, hearer, stopped = (machine.program() for _ in range(3))
    address = publisher.call("advertise", "burst")
    for program in (hearer, stopped):
        program.call("wait_for_news_from", address, "n", 0)
    publisher.call("send_news_to", address, "n", "first")
    for program in (hearer, stopped):
        assert program.call("wait_for_news_from", address, "n", 20) == ["n", "first"]
    stopped.kill(signal.SIGSTOP)
    hearer.begin("collect_news", address, "n", 15_000)
    longest_s = publisher.call("publish", address, "n", 15_000, padding=1000)
    assert len(hearer.end()) == 15_000
    assert longest_s < 10
    stopped.kill(signal.SIGCONT)
    assert stopped.call("wait_for_news_from", address, "n", 20) == ["n", [0, "." * 1000]]


def test_news_sent_right_before_the_programs_end_arrive(machine: Machine, wire: zmq.Context[Any]) -> None:
    hearer, sub, address = machine.program(), wire.socket(zmq.SUB), own_address()
    sub.subscribe(b"")
    sub.connect(f"tcp://{address}")
    hearer.call("wait_for_news_from", address, "", 0)
    for end in ("sys.exit(3)", "raise RuntimeError"):
        code = f"import nwdisco as nw0, sys\nfor n in range(100): nw0.send_news_to('{address}', 'last words', n)\n"
        machine.python(code + end)
        assert hearer.call("collect_news", address, "", 100) == [["last words", number] for number in range(100)]
        assert [sub.recv_multipart()[1] for _ in range(100)] == [str(number).encode() for number in range(100)]


def test_a_reply_sent_right_before_the_programs_end_arrives(machine: Machine, wire: zmq.Context[Any]) -> None:
    asker, req, address = machine.program(), wire.socket(zmq.REQ), own_address()
    req.connect(f"tcp://{address}")
    code = (
        "import nwdisco as nw0\n"
        f"message = nw0.wait_for_message_from('{address}', 20)\n"
        f"nw0.send_reply_to('{address}', message * 3_000_000)\n"
    )
    asks(asker, address, "a")
    assert machine.python(code).returncode == 0
    assert len(asker.end()) == 3_000_000
    req.send(b'"b"')
    assert machine.python(code).returncode == 0
    assert len(req.recv()) == 3_000_002


def test_who_waits_at_localhost_is_not_reached_from_elsewhere(machine: Machine) -> None:
    port = free_port()
    service = machine.program()
    assert service.call("wait_for_message_from", f"localhost:{port}", wait_for_s=0) is None
    socket.create_connection(("127.0.0.1", port), 20).close()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.2", port), 20)
    everywhere = free_port()
    assert service.call("wait_for_message_from", f"{everywhere}", wait_for_s=0) is None
    socket.create_connection(("127.0.0.2", everywhere), 20).close()
