"""What the messenger must not be given, and what may arrive at a port that is open to everybody on the network."""

from __future__ import annotations

import socket
import struct
from contextlib import suppress
from typing import Any

import pytest
import zmq

from nwdisco.config import MAX_MESSAGE_BYTES
from tests.machines import Failed, Machine, Program, wait_until
from tests.messaging import own_address

HUNDRED_MB = 100_000_000
GREETING = b"\xff\0\0\0\0\0\0\0\x01\x7f\x03\x00NULL" + bytes(16) + b"\0" + bytes(31)
"""How every ZeroMQ socket begins (ZMTP 3.0)."""
GARBAGE = {
    "text": b"hello?\r\n",
    "HTTP": b"GET / HTTP/1.1\r\nHost: example\r\nAccept: */*\r\n\r\n",
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(range(256)),
    "zeros": bytes(1000),
    "ones": b"\xff" * 1000,
    "ZMTP and then garbage": GREETING + b"garbage" * 100,
    "ZMTP and a frame without an end": GREETING + b"\x06" + struct.pack(">Q", 2**63 - 1) + b"x" * 100,
}


def listener(machine: Machine) -> tuple[Program, str]:
    """A program that listens, and keeps its log."""
    program, address = machine.program(), own_address()
    program.call("keep_log")
    assert program.call("wait_for_message_from", address, 0) is None
    return program, address


def goes_on(service: Program, address: str, asker: Program) -> None:
    """The service hears and answers the next message."""
    service.begin("echo", address, 1)
    assert asker.call("send_message_to", address, "still there?", wait_for_reply_s=20) == "still there?"
    assert service.end() == 1


def throw(address: str, garbage: bytes) -> None:
    """Send bytes, and take what comes until the other side ends the connection."""
    ip, _, port = address.partition(":")
    with socket.create_connection((ip, int(port)), 20) as connection:
        try:
            connection.sendall(garbage)
            connection.shutdown(socket.SHUT_WR)
            while connection.recv(4096):
                pass
        except TimeoutError:
            raise
        except OSError:
            pass  # it was quicker to end the connection


# --- what a caller gives ----------------------------------------------------------------------------------


def test_a_message_that_no_json_can_hold_is_an_error_at_once_and_nothing_is_half_done(machine: Machine) -> None:
    done = machine.python(
        "import threading, nwdisco as nw0\n"
        "address, news, replies = nw0.advertise('a'), nw0.advertise('b'), []\n"
        "assert nw0.wait_for_news_from(news, '', 0) == (None, None)\n"
        "asker = threading.Thread(target=lambda: replies.append(nw0.send_message_to(address, 'hello')), daemon=True)\n"
        "asker.start()\n"
        "assert nw0.wait_for_message_from(address, 20) == 'hello'\n"
        "for bad in (b'bytes', {1}, object(), [lambda: 0], {(1, 2): 3}, 10**5000):\n"
        "    for send in (nw0.send_message_to, nw0.send_reply_to, lambda a, bad: nw0.send_news_to(news, 't', [bad])):\n"
        "        try:\n"
        "            print('sent', send(address, bad))\n"
        "        except nw0.MessageError as error:\n"
        "            assert isinstance(error, TypeError) and 'send text, numbers' in str(error), error\n"
        "for topic in (None, 5, b'bytes'):\n"
        "    try:\n"
        "        print('sent', nw0.send_news_to(news, topic, 1))\n"
        "    except nw0.MessageError:\n"
        "        pass\n"
        "nw0.send_reply_to(address, 'good')\n"
        "nw0.send_news_to(news, 't', 'good')\n"
        "asker.join()\n"
        "print(replies, nw0.wait_for_news_from(news, '', 20), nw0.wait_for_message_from(address, 0))\n"
    )
    assert done.stdout == "['good'] ('t', 'good') None\n", done.stderr


VERBS = ("send_message_to", "wait_for_message_from", "send_reply_to", "send_news_to", "wait_for_news_from")
NO_ADDRESSES: dict[str, tuple[object, ...]] = {
    "InvalidAddressError": (None, 5, True, {}, "", " ", "127.0.0.1", "nobody", "300.1.1.1:80", "1.2.3:80", "a\nb:80"),
    "AddressError": ("127.0.0.1:", "127.0.0.1:0", "127.0.0.1:65536", "127.0.0.1:-1", "127.0.0.1:http", "70000"),
    "InvalidAddressError, for its colons": ("::1", "[::1]:80", "tcp://127.0.0.1:80"),
}


def test_an_address_that_is_none_is_an_error_that_says_what_to_give(machine: Machine) -> None:
    program = machine.program()
    wrong = []
    for verb in VERBS:
        news = verb == "wait_for_news_from"  # which alone takes several
        lists: list[object] = [[], [None], ["127.0.0.1:1", "127.0.0.1"]] if news else [["127.0.0.1:1"]]
        cases = [(one, kind) for kind, addresses in NO_ADDRESSES.items() for one in addresses]
        for address, kind in [*cases, *((one, "InvalidAddressError") for one in lists)]:
            arguments = {"topic": "t"} if verb == "send_news_to" else {}
            try:
                wrong.append([verb, address, program.call(verb, address, **arguments)])
            except Failed as error:
                if error.kind not in (kind.partition(",")[0], "InvalidAddressError") or len(error.message) < 20:
                    wrong.append([verb, address, str(error)])
    assert wrong == []


def test_an_address_of_another_machine_is_nothing_to_listen_at(machine: Machine) -> None:
    program = machine.program()
    for verb, arguments in (("wait_for_message_from", [0]), ("send_news_to", ["topic"]), ("send_reply_to", [])):
        with pytest.raises(Failed, match="no address of this machine") as failed:
            program.call(verb, "192.0.2.1:8080", *arguments)
        assert failed.value.kind == "InvalidAddressError"


@pytest.mark.parametrize("seconds", [-1, "5", float("nan"), True, [1]])
def test_a_time_to_wait_that_is_none_is_an_error(machine: Machine, seconds: object) -> None:
    program, address = machine.program(), own_address()
    for verb in ("send_message_to", "wait_for_message_from", "wait_for_news_from"):
        option = "wait_for_reply_s" if verb == "send_message_to" else "wait_for_s"
        with pytest.raises(Failed, match="wait_for_") as failed:
            program.call(verb, address, **{option: seconds})
        assert failed.value.kind == "ValueError"


# --- one address, one role --------------------------------------------------------------------------------


def test_an_address_is_listened_at_or_published_at_once(machine: Machine) -> None:
    program, other = machine.program(), machine.program()
    messages, news = program.call("advertise", "messages"), program.call("advertise", "news")
    program.call("wait_for_message_from", messages, 0)
    program.call("send_news_to", news, "topic", 1)
    for taken in (program, other):
        both = [(messages, "send_news_to", "topic"), (news, "wait_for_message_from", 0)]
        if taken is other:
            both += [(news, "send_news_to", "topic"), (messages, "wait_for_message_from", 0)]
        for address, verb, argument in both:
            ip_and_port = f"127.0.0.1:{address.partition(':')[2]}"
            with pytest.raises(Failed, match="in use") as failed:
                taken.call(verb, ip_and_port, argument)
            assert failed.value.kind == "SocketAlreadyExistsError"
    goes_on(program, messages, other)
    program.finish()
    assert other.call("wait_for_message_from", ip_and_port, 0) is None, "its owner is gone, and its address free"


def test_who_asks_where_news_are_published_is_told(machine: Machine) -> None:
    publisher, asker = machine.program(), machine.program()
    address = publisher.call("advertise", "news")
    publisher.call("send_news_to", address, "topic", 1)
    with pytest.raises(Failed) as failed:
        asker.call("send_message_to", address, "hello", wait_for_reply_s=20)
    assert failed.value.kind in ("ServiceGoneError", "MessageError"), "not a timeout: nobody will ever reply"


def test_who_asks_where_messages_were_answered_and_news_are_published_now_is_told(machine: Machine) -> None:
    service, address = listener(machine)
    asker, publisher = machine.program(), machine.program()
    goes_on(service, address, asker)
    service.finish()
    publisher.call("send_news_to", address, "topic", 1)
    for _ in range(3):
        with pytest.raises(Failed) as failed:
            asker.call("send_message_to", address, "hello", wait_for_reply_s=20)
        assert failed.value.kind in ("ServiceGoneError", "MessageError"), "however the broken connection has fared"


# --- foreign bytes ----------------------------------------------------------------------------------------


def test_a_listener_goes_on_after_garbage(machine: Machine) -> None:
    service, address = listener(machine)
    asker = machine.program()
    for number, garbage in enumerate(GARBAGE.values()):
        service.begin("echo", address, 1)
        for _ in range(3):
            throw(address, garbage)
        assert asker.call("send_message_to", address, number, wait_for_reply_s=20) == number
        assert service.end() == 1


def test_garbage_at_a_listener_is_a_line_in_its_log(machine: Machine) -> None:
    services = {kind: listener(machine) for kind in GARBAGE}
    for kind, (_, address) in services.items():
        throw(address, GARBAGE[kind])

    def log(service: Program, address: str) -> list[str]:
        service.call("wait_for_message_from", address, 0.01)
        lines: list[str] = service.call("read_log")
        return lines

    wait_until(lambda: all(log(*one) for one in services.values()), "lines in the logs", 5)
    for kind, one in services.items():
        assert log(*one)[0].startswith("WARNING "), kind


def test_frames_that_are_no_message_are_lines_in_the_log_and_the_listener_goes_on(
    machine: Machine, wire: zmq.Context[Any]
) -> None:
    service, address = listener(machine)
    asker, dealer = machine.program(), wire.socket(zmq.DEALER)
    dealer.connect(f"tcp://{address}")
    foreign: list[list[bytes]] = [
        [b"hello"],
        [b'"no delimiter"'],
        [b""],
        [b"", b""],
        [b"", b"no json"],
        [b"", b"\xff\xfe\xfd"],
        [b"", b"[" * 100_000],
        [b"", b'"one"', b'"two"'],
        [b"one", b"two", b"three"],
    ]
    for number, frames in enumerate(foreign):
        dealer.send_multipart(frames)
        dealer.send_multipart([b"", str(number).encode()])
        assert service.call("wait_for_message_from", address, 20, autoreply=True) == number
        assert dealer.recv_multipart() == [b"", b"null"]
        log = service.call("read_log")
        assert len(log) == number + 1, f"after {frames}: {log}"
        assert log[-1].startswith("WARNING ")
        assert len(log[-1]) < 500
    goes_on(service, address, asker)


def test_sockets_of_other_kinds_do_not_disturb_a_listener(machine: Machine, wire: zmq.Context[Any]) -> None:
    service, address = listener(machine)
    for kind in (zmq.PUSH, zmq.PUB, zmq.SUB, zmq.PAIR, zmq.STREAM, zmq.ROUTER, zmq.REP):
        wire.socket(kind).connect(f"tcp://{address}")
    wire.socket(zmq.PUSH).connect(f"tcp://{address}")
    goes_on(service, address, machine.program())


def test_frames_that_are_no_news_are_lines_in_the_log_and_the_subscriber_goes_on(
    machine: Machine, wire: zmq.Context[Any]
) -> None:
    program, pub = machine.program(), wire.socket(zmq.XPUB)
    address = f"127.0.0.1:{pub.bind_to_random_port('tcp://127.0.0.1')}"
    program.call("keep_log")
    program.begin("collect_news", address, "", 4)
    assert pub.recv() == b"\x01"
    foreign = [[b"one frame"], [b"t", b"no json"], [b"t", b""], [b"\xff", b"1"], [b"t", b"1", b"2"]]
    for frames in (*foreign[:2], [b"t", b"1"], *foreign[2:], [b"t", b"2"], [b"t", b"3"], [b"", b"4"]):
        pub.send_multipart(frames)
    assert program.end() == [["t", 1], ["t", 2], ["t", 3], ["", 4]]
    log = program.call("read_log")
    assert [line.split()[0] for line in log] == ["WARNING"] * len(foreign), log


def test_a_reply_that_is_no_message_is_an_error_and_the_next_one_arrives(
    machine: Machine, wire: zmq.Context[Any]
) -> None:
    asker, rep = machine.program(), wire.socket(zmq.REP)
    address = f"127.0.0.1:{rep.bind_to_random_port('tcp://127.0.0.1')}"
    for reply, expected in ((b"no json", None), (b'"good"', "good"), (b"\xff", None), (b"5", 5)):
        asker.begin("send_message_to", address, "hello", wait_for_reply_s=20)
        assert rep.recv() == b'"hello"'
        rep.send(reply)
        if expected is None:
            with pytest.raises(Failed, match=f"MessageError: {address} replied with what is no message"):
                asker.end()
        else:
            assert asker.end() == expected


def test_after_a_reply_of_two_frames_the_next_send_works(machine: Machine, wire: zmq.Context[Any]) -> None:
    asker, rep = machine.program(), wire.socket(zmq.REP)
    address = f"127.0.0.1:{rep.bind_to_random_port('tcp://127.0.0.1')}"
    asker.begin("send_message_to", address, 1, wait_for_reply_s=20)
    assert rep.recv() == b"1"
    rep.send_multipart([b'"one"', b'"two"'])
    with suppress(Failed):  # or a reply: NetworkZero takes the first frame
        asker.end()
    asker.begin("send_message_to", address, 2, wait_for_reply_s=20)
    assert rep.recv() == b"2"
    rep.send(b'"good"')
    assert asker.end() == "good"


def test_who_asks_a_web_server_is_told(machine: Machine) -> None:
    asker = machine.program()
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(20)
        asker.begin("send_message_to", f"127.0.0.1:{server.getsockname()[1]}", "hello", wait_for_reply_s=20)
        with server.accept()[0] as connection:
            assert connection.recv(1)
            connection.sendall(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n")
    with pytest.raises(Failed) as failed:
        asker.end()
    assert failed.value.kind in ("ServiceGoneError", "MessageError")


# --- too large --------------------------------------------------------------------------------------------


def test_100_mb_are_an_error_on_the_side_that_sends_and_32_mib_arrive(machine: Machine) -> None:
    service, asker = machine.program(), machine.program()
    address, news = service.call("advertise", "large"), service.call("advertise", "news")
    most = MAX_MESSAGE_BYTES - len('""')
    service.begin("size_of_message", address)
    with pytest.raises(
        Failed, match=f"MessageError: this message takes {HUNDRED_MB + 2} bytes, and 32 MiB is the most"
    ):
        asker.call("say", "send_message_to", address, HUNDRED_MB)
    assert asker.call("say", "send_message_to", address, most) == most
    assert service.end() == most
    asker.begin("send_message_to", address, "small", wait_for_reply_s=30)
    assert service.call("wait_for_message_from", address, 20) == "small"
    for verb, where, topic in (("send_reply_to", address, []), ("send_news_to", news, ["topic"])):
        with pytest.raises(Failed, match="32 MiB is the most"):
            service.call("say", verb, where, HUNDRED_MB, *topic)
    service.call("send_reply_to", address, "small")
    assert asker.end() == "small"


def test_100_mb_from_a_bare_socket_are_dropped_and_the_listener_goes_on(
    machine: Machine, wire: zmq.Context[Any]
) -> None:
    service, address = listener(machine)
    goes_on(service, address, machine.program())
    before = service.call("most_memory")
    req = wire.socket(zmq.REQ)
    monitor = req.get_monitor_socket(zmq.EVENT_DISCONNECTED)
    req.connect(f"tcp://{address}")
    service.begin("echo", address, 1)
    req.send(b'"' + b"x" * HUNDRED_MB + b'"')
    assert monitor.poll(20_000), "the listener ends the connection"
    assert machine.program().call("send_message_to", address, "me", wait_for_reply_s=20) == "me"
    assert service.end() == 1
    assert service.call("wait_for_message_from", address, 0) is None
    assert service.call("most_memory") - before < 20_000_000


def test_a_reply_of_100_mb_is_an_error(machine: Machine, wire: zmq.Context[Any]) -> None:
    program, rep = machine.program(), wire.socket(zmq.REP)
    replier = f"127.0.0.1:{rep.bind_to_random_port('tcp://127.0.0.1')}"
    program.begin("send_message_to", replier, "hello", wait_for_reply_s=30)
    large = b'"' + b"x" * HUNDRED_MB + b'"'
    assert rep.recv() == b'"hello"'
    rep.send(large)
    with pytest.raises(Failed) as failed:
        program.end()
    assert failed.value.kind in ("ServiceGoneError", "MessageError"), "not a timeout"
