"""The queue of answers against what it promises: in turn, bounded, and who waits for most gives way; whatever is asked for."""

from __future__ import annotations

import sys
from collections import Counter
from types import FrameType
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from nwdisco.core.contacts import Address
from nwdisco.core.fair_queue import Answer, FairQueue

EACH, PER_MACHINE, TOTAL = 3, 6, 12

addresses = st.tuples(st.sampled_from(["10.0.0.1", "10.0.0.2", "10.0.0.3", "10.0.0.4"]), st.integers(1, 4))
steps = st.lists(st.tuples(st.sampled_from(["put", "put", "put", "next", "remove"]), addresses), max_size=120)


def machines_of(waiting: list[Answer]) -> Counter[str]:
    return Counter(answer.address[0] for answer in waiting)


def ports_of(waiting: list[Answer], ip: str) -> Counter[Address]:
    return Counter(answer.address for answer in waiting if answer.address[0] == ip)


def check_put(before: list[Answer], new: Answer, after: list[Answer]) -> None:
    """Put behind all others; then what is too much is gone: the newest of who waits for most."""
    all_of_it = [*before, new]
    gone = [answer for answer in all_of_it if answer not in after]
    machines, ports = machines_of(all_of_it), ports_of(all_of_it, new.address[0])
    if ports[new.address] > EACH:
        assert gone == [new]
        return
    if machines[new.address[0]] <= PER_MACHINE and len(all_of_it) <= TOTAL:
        assert gone == []
        return
    (lost,) = gone
    ip = lost.address[0]
    if machines[new.address[0]] > PER_MACHINE:
        assert ip == new.address[0]
    else:
        assert machines[ip] == max(machines.values())
    assert ports_of(all_of_it, ip)[lost.address] == max(ports_of(all_of_it, ip).values())
    assert lost is [answer for answer in all_of_it if answer.address == lost.address][-1]


@given(steps)
def test_whatever_is_asked_for_it_is_bounded_and_who_waits_for_most_gives_way(asked: list[tuple[str, Address]]) -> None:
    queue = FairQueue(EACH, PER_MACHINE, TOTAL)
    waiting: list[Answer] = []
    for step, address in asked:
        if step == "put":
            new = Answer(address, 0, 1)
            queue.put(new)
            after = [answer for answer in [*waiting, new] if answer in queue.of(answer.address)]
            check_put(waiting, new, after)
            waiting = after
        elif waiting and step == "remove":
            queue.remove(waiting.pop(address[1] % len(waiting)))
        elif waiting:
            answer = queue.next()
            assert answer is next(one for one in waiting if one.address == answer.address)
        assert len(queue) == len(waiting)
        assert [len(queue.of(address)) for address in ports_of(waiting, address[0])] == [
            *ports_of(waiting, address[0]).values()
        ]


@given(st.lists(addresses, min_size=1, max_size=TOTAL))
def test_machines_have_their_turns_one_after_another_and_in_each_its_ports(asked: list[Address]) -> None:
    queue = FairQueue(len(asked), len(asked), len(asked))
    for address in asked:
        queue.put(Answer(address, 0, 1))
    machines = list(dict.fromkeys(ip for ip, _ in asked))
    turns: dict[str, list[int]] = {ip: [] for ip in machines}
    for turn in range(12 * len(machines)):
        ip, port = queue.next().address
        assert ip == machines[turn % len(machines)]
        turns[ip].append(port)
    for ip in machines:
        ports = list(dict.fromkeys(port for where, port in asked if where == ip))
        assert turns[ip] == (ports * 12)[:12]


def test_when_all_wait_for_as_much_the_one_that_comes_last_gives_way() -> None:
    queue = FairQueue(EACH, PER_MACHINE, TOTAL)
    for number in range(TOTAL + 1):
        queue.put(Answer((f"10.0.0.{number}", 1), 0, 1))
    assert [len(queue.of((f"10.0.0.{number}", 1))) for number in range(TOTAL + 1)] == [1] * TOTAL + [0]


def steps_of_a_put(waiting: int) -> int:
    """The lines of code that one more takes in a full queue of so many, from as many machines as there are ports in each."""
    queue = FairQueue(16, waiting, waiting)
    side = int(waiting**0.5)
    for number in range(waiting):
        queue.put(Answer((f"10.0.0.{number % side}", number // side % side), 0, 1))
    assert len(queue) == waiting
    lines = 0

    def count(frame: FrameType, event: str, argument: Any) -> Any:
        nonlocal lines
        lines += 1
        return count

    before = sys.gettrace()
    sys.settrace(count)
    try:
        queue.put(Answer(("10.0.0.0", 0), 1, 2))
        queue.next()
    finally:
        sys.settrace(before)
    return lines


def test_one_more_takes_as_many_steps_in_a_long_queue_as_in_a_short_one() -> None:
    assert steps_of_a_put(waiting=4096) == steps_of_a_put(waiting=16)
