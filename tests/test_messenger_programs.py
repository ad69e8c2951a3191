"""Threads, Ctrl-C, services that die, forks: programs with messages as they live and end. All real processes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import zmq

from nwdisco.errors import ServiceGoneError
from nwdisco.sockets import Socket
from tests.agent import asleep
from tests.machines import Failed, Machine, Program, alive, wait_until
from tests.messaging import asks, own_address

# --- threads ----------------------------------------------------------------------------------------------


def test_one_address_is_asked_and_waited_at_by_many_threads_at_once(machine: Machine) -> None:
    service, asker, other = (machine.program() for _ in range(3))
    address = service.call("advertise", "echo")
    service.begin("echo_in_threads", address, 5, 60)
    asker.begin("ask_in_threads", address, 10, 20)
    other.begin("ask_in_threads", address, 10, 10)
    assert asker.end() == [[]] * 10, "messages without their own replies"
    assert other.end() == [[]] * 10, "messages without their own replies"
    assert service.end() == [60] * 5


def test_news_are_sent_and_heard_by_many_threads_at_once(machine: Machine) -> None:
    publisher, hearer = machine.program(), machine.program()
    address = publisher.call("advertise", "weather")
    hearer.call("wait_for_news_from", address, "", 0)
    hearer.begin("collect_news_in_threads", address, 4, 250)
    assert publisher.call("publish_in_threads", address, 5, 200) == [True] * 5
    heard = [news for thread in hearer.end() for news in thread]
    assert sorted(heard) == [[f"thread {thread}", number] for thread in range(5) for number in range(200)]


def test_a_socket_is_used_from_a_thread_that_did_not_make_it(machine: Machine) -> None:
    service, asker = machine.program(), machine.program()
    address = service.call("advertise", "echo")
    for threads in (1, 2):
        service.begin("echo_in_threads", address, 1, threads)
        assert asker.call("ask_in_threads", address, threads, 1) == [[]] * threads
        assert service.end() == [threads]
    asks(asker, address)
    assert service.call("echo", address, 1) == 1
    assert asker.end() == "hello"


def test_a_reply_is_sent_while_another_thread_waits_for_the_next_message(machine: Machine) -> None:
    service, asker, other = (machine.program() for _ in range(3))
    address = service.call("advertise", "busy")
    service.begin("reply_while_waiting", address)
    asks(asker, address, "first")
    assert asker.end() == "the reply"
    asks(other, address, "second")
    assert other.end() is None
    assert service.end() == ["first", "second"]


# --- Ctrl-C -----------------------------------------------------------------------------------------------


def interrupt(program: Program, where: str = "poll") -> None:
    """Ctrl-C ends what it waits in, at once, with an error that both kinds of programs catch."""
    wait_until(lambda: asleep(program.pid, where), "the program waits")
    interrupted_at = time.monotonic()
    program.kill(signal.SIGINT)
    assert program.end() == ["SocketInterruptedError", True]
    assert time.monotonic() - interrupted_at < 10


def test_ctrl_c_ends_a_wait_for_a_reply_and_the_next_send_works(machine: Machine, wire: zmq.Context[Any]) -> None:
    program, rep = machine.program(), wire.socket(zmq.REP)
    address = f"127.0.0.1:{rep.bind_to_random_port('tcp://127.0.0.1')}"
    program.begin("interrupted", "send_message_to", address, 1, 60)
    assert rep.recv() == b"1"
    interrupt(program)
    rep.send(b'"too late"')
    asks(program, address, 2)
    assert rep.recv() == b"2"
    rep.send(b'"in time"')
    assert program.end() == "in time"


def test_ctrl_c_ends_a_wait_for_a_message_and_the_next_one_arrives(machine: Machine) -> None:
    program, asker = machine.program(), machine.program()
    address = program.call("advertise", "echo")
    assert program.call("wait_for_message_from", address, 0) is None
    program.begin("interrupted", "wait_for_message_from", address, 60)
    interrupt(program)
    asks(asker, address)
    assert program.call("echo", address, 1) == 1
    assert asker.end() == "hello"


def test_ctrl_c_ends_a_wait_for_news_and_the_next_ones_arrive(machine: Machine, wire: zmq.Context[Any]) -> None:
    program, pub = machine.program(), wire.socket(zmq.XPUB)
    address = f"127.0.0.1:{pub.bind_to_random_port('tcp://127.0.0.1')}"
    assert program.call("wait_for_news_from", address, "n", 0) == [None, None]
    assert pub.recv() == b"\x01n"
    program.begin("interrupted", "wait_for_news_from", address, "n", 60)
    interrupt(program)
    pub.send_multipart([b"n", b"1"])
    assert program.call("wait_for_news_from", address, "n", 20) == ["n", 1]


def test_ctrl_c_ends_a_wait_for_ones_turn(machine: Machine) -> None:
    program, asker, address = machine.program(), machine.program(), own_address()
    program.call("echo_in_background", address, 1)  # its turn first
    program.begin("interrupted", "wait_for_message_from", address, 60)
    interrupt(program, "futex")
    assert asker.call("send_message_to", address, "hello", wait_for_reply_s=20) == "hello"


# --- services that die ------------------------------------------------------------------------------------


def is_gone(asker: Program, why: str) -> None:
    began_at = time.monotonic()
    with pytest.raises(Failed, match=why) as failed:
        asker.end()
    assert failed.value.kind == "ServiceGoneError"
    assert time.monotonic() - began_at < 10


def test_a_service_killed_while_one_waits_for_its_reply_is_an_error(machine: Machine) -> None:
    service, asker = machine.program(), machine.program()
    address = service.call("advertise", "doomed")
    asks(asker, address)
    assert service.call("wait_for_message_from", address, 20) == "hello"
    service.kill(signal.SIGKILL)
    is_gone(asker, f"{address} .*ended")


def test_a_rep_socket_that_nobody_advertised_and_is_killed_is_an_error(machine: Machine) -> None:
    code = (
        "import zmq\n"
        "rep = zmq.Context().socket(zmq.REP)\n"
        "print(rep.bind_to_random_port('tcp://127.0.0.1'), flush=True)\n"
        "print(rep.recv(), flush=True)\n"
        "rep.poll()\n"
    )
    asker = machine.program()
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as rep:
        try:
            assert rep.stdout is not None
            asks(asker, f"127.0.0.1:{rep.stdout.readline().strip()}")
            assert rep.stdout.readline() == "b'\"hello\"'\n"
        finally:
            rep.kill()
    is_gone(asker, "closed the connection before it replied")


def test_a_service_that_leaves_the_network_is_an_error_though_its_program_lives(machine: Machine) -> None:
    service, asker, other = (machine.program() for _ in range(3))
    address = service.call("advertise", "leaving")
    assert other.call("discover", "leaving") == address
    asks(other, address)
    assert service.call("wait_for_message_from", address, 20) == "hello"
    service.call("unadvertise", "leaving")
    is_gone(other, f"leaving at {address} has left the network")
    asks(asker, address)  # who never saw it advertised does not miss it
    service.begin("echo", address, 1)
    assert asker.end() == "hello"


def test_a_service_that_was_discovered_and_died_before_one_sends_is_an_error(machine: Machine) -> None:
    service, asker = machine.program(), machine.program()
    service.call("advertise", "dead")
    address = asker.call("discover", "dead")
    service.kill()
    service.process.wait(20)
    asks(asker, address)
    is_gone(asker, f"dead at {address} has left")


def naps(pid: int) -> int:
    """How often a program's main thread has gone to sleep: who waits for a reply does so once for each look."""
    status = Path(f"/proc/{pid}/task/{pid}/status").read_text()
    return int(status.partition("voluntary_ctxt_switches:")[2].split()[0])


def test_a_service_that_was_started_again_is_waited_for_as_long_as_it_takes(machine: Machine) -> None:
    first, second, asker = (machine.program() for _ in range(3))
    address = own_address()
    asks(asker, address)
    assert first.call("echo", address, 1) == 1
    assert asker.end() == "hello"
    first.kill()
    first.process.wait(20)
    assert second.call("wait_for_message_from", address, 0) is None
    asks(asker, address, "again")
    assert second.call("wait_for_message_from", address, 20) == "again"
    before = naps(asker.pid)
    wait_until(lambda: naps(asker.pid) >= before + 3, "two looks of who waits, and a third wait")
    second.call("send_reply_to", address, "at last")
    assert asker.end() == "at last"


def test_a_beacon_that_is_killed_does_not_make_a_service_gone(machine: Machine) -> None:
    service, asker, other = (machine.program() for _ in range(3))
    address = service.call("advertise", "steady")
    assert asker.call("discover", "steady") == address
    asks(asker, address)
    assert service.call("wait_for_message_from", address, 20) == "hello"
    for _ in range(2):
        pid = machine.beacon_pid()
        os.kill(pid, signal.SIGKILL)
        wait_until(lambda p=pid: not alive(p), "the beacon's death")  # type: ignore[misc]
        assert other.call("discover", "steady", 20) == address
    service.call("send_reply_to", address, "still here")
    assert asker.end() == "still here"


def test_a_reply_that_is_there_is_given_even_if_its_service_is_seen_to_be_gone(wire: zmq.Context[Any]) -> None:
    rep = wire.socket(zmq.REP)
    socket = Socket(wire, zmq.REQ, f"127.0.0.1:{rep.bind_to_random_port('tcp://127.0.0.1')}")

    def look() -> float:
        """What can happen between two glances: the reply arrives, and the service ends."""
        rep.recv()
        rep.send(b"the reply")
        assert socket.zmq.poll(20_000)
        rep.close()
        raise ServiceGoneError("gone")

    socket.send([b"hello"])
    try:
        assert socket.receive_alone(time.monotonic() + 20, look) == b"the reply"
    finally:
        socket.close()


# --- forks ------------------------------------------------------------------------------------------------


def test_a_forked_child_has_sockets_of_its_own_and_its_parents_work_on(machine: Machine) -> None:
    parent, other = machine.program(), machine.program()
    at_parent, at_other = parent.call("advertise", "parent"), other.call("advertise", "other")
    news_of_parent, news_of_other = own_address(), own_address()

    def all_work(message: str) -> None:
        asks(parent, at_other, message)
        assert other.call("echo", at_other, 1) == 1
        assert parent.end() == message
        parent.call("send_news_to", news_of_parent, "n", message)
        assert other.call("wait_for_news_from", news_of_parent, "n", 20) == ["n", message]
        other.call("send_news_to", news_of_other, "n", message)
        assert parent.call("wait_for_news_from", news_of_other, "n", 20) == ["n", message]

    parent.call("wait_for_news_from", news_of_other, "n", 0)
    other.call("wait_for_news_from", news_of_parent, "n", 0)
    all_work("before")
    other.begin("echo", at_other, 1)
    assert parent.call("fork_and_ask", at_other, "from the child") == ["'from the child'", 0]
    assert other.end() == 1
    all_work("after")
    parent.call("echo_in_background", at_parent, 2)
    assert parent.call("fork_and_ask", at_parent, "to my parent") == ["'to my parent'", 0]
    assert other.call("send_message_to", at_parent, "after", wait_for_reply_s=20) == "after"
    all_work("at the end")


def test_a_program_whose_daemon_threads_wait_for_ever_comes_to_its_end_in_silence(machine: Machine) -> None:
    code = (
        "import sys, threading, nwdisco as nw0\n"
        "sys.path.insert(0, {tests!r})\n"
        "from agent import until_asleep\n"
        "verbs = (nw0.send_message_to, nw0.wait_for_message_from, nw0.wait_for_news_from)\n"
        "for verb, address in zip(verbs, {addresses!r}):\n"
        "    if verb is not nw0.send_message_to: verb(address, wait_for_s=0)\n"
        "    threading.Thread(target=verb, args=(address,), daemon=True).start()\n"
        "    until_asleep(threading.enumerate()[-1])\n"
    )
    for _ in range(2):
        addresses = [own_address() for _ in range(3)]
        done = machine.python(code.format(tests=os.path.dirname(__file__), addresses=addresses))
        assert (done.returncode, done.stderr) == (0, "")
