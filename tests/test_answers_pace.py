"""Answers over time: the first go out at once, all together keep to the pace, and nobody takes another's turn."""

from __future__ import annotations

from collections import Counter

import pytest

from nwdisco import config
from nwdisco.core.datagrams import Ask, Change, decode, encode
from nwdisco.core.telling import MAX_ANSWERS, MAX_ANSWERS_EACH, MAX_ANSWERS_PER_MACHINE
from tests.test_lan import Address, Node

NEWCOMER: Address = ("10.0.0.7", 40000)
GAP_S = config.ANSWER_GAP_S * 1.001
"""One gap, whatever floating point makes of it."""
ASK_S = 1 / config.SOURCE_PER_S
"""Who floods is read so often."""


class Teacher(Node):
    """Has told everybody of its adverts long ago; strangers ask it for them, and `told` counts what each was sent."""

    def __init__(self, adverts: int) -> None:
        super().__init__()
        for number in range(adverts):
            self.advertise(f"lamp/{number:04}", {"text": "x" * 100})
        self.wait(5)
        self.adverts = adverts
        self.told: Counter[Address] = Counter()
        """Parts of answers, by whom they went to."""
        self.version: Counter[Address] = Counter()
        """What those who lose nothing have of the adverts by now."""

    def ask(self, who: Address, since: int = 0, until: int = 0) -> None:
        self.lan.receive(encode(Ask(self.lan.contacts.proof_for(who), since, until)), who, self.now, direct=True)
        self._look()

    def go_on(self, seconds: float) -> None:
        end = self.now + seconds
        while self.lan.due is not None and self.lan.due <= end:
            self.now = max(self.now, self.lan.due)
            self.lan.wake(self.now)
            self._look()
        self.now = end

    def _look(self) -> None:
        for data, to in self.lan.outbox:
            message = decode(data)
            if isinstance(to, tuple) and isinstance(message, Change):
                self.told[to] += 1
                if message.since <= self.version[to]:
                    self.version[to] = max(self.version[to], message.until)
        self.lan.outbox.clear()

    def waiting(self) -> int:
        return len(self.lan._teller._answers)

    def next_of(self, who: Address) -> int:
        """The version that the next part for somebody begins after."""
        return self.lan._teller._answers.of(who)[0].since


def hosts(number: int) -> list[Address]:
    return [(f"10.0.1.{host}", 40000) for host in range(number)]


def ports(number: int, ip: str = "10.66.66.66") -> list[Address]:
    return [(ip, 10_000 + port) for port in range(number)]


def test_what_few_ask_for_goes_out_at_once() -> None:
    teacher = Teacher(adverts=1)
    for host in hosts(config.ANSWER_PARTS):
        teacher.ask(host)
        assert teacher.told[host] == 1
    assert teacher.lan.due is None, "nothing is left to be done"


def test_a_room_that_asks_at_once_is_answered_after_one_gap() -> None:
    teacher = Teacher(adverts=5)
    for host in hosts(50):
        teacher.ask(host)
    assert teacher.told.total() == config.ANSWER_PARTS
    teacher.go_on(GAP_S)
    assert teacher.told == Counter(hosts(50))


def test_one_that_asks_alone_has_the_first_parts_at_once_and_as_many_after_each_gap() -> None:
    teacher = Teacher(adverts=1500)
    teacher.ask(NEWCOMER)
    told = [teacher.told[NEWCOMER]]
    while teacher.version[NEWCOMER] < teacher.adverts:
        teacher.go_on(GAP_S)
        told.append(teacher.told[NEWCOMER])
    assert told[:-1] == [config.ANSWER_PARTS * (turn + 1) for turn in range(len(told) - 1)]
    assert len(told) > 3


@pytest.mark.parametrize("askers", [1, 40])
def test_short_answers_one_after_another_keep_to_the_pace_too(askers: int) -> None:
    teacher = Teacher(adverts=100)
    for number in range(1000):
        teacher.ask(hosts(askers)[number % askers])
        teacher.go_on(ASK_S)
    gaps = int(1000 * ASK_S / config.ANSWER_GAP_S) + 1
    assert config.ANSWER_PARTS * (gaps - 2) <= teacher.told.total() <= config.ANSWER_PARTS * gaps


def test_parts_that_were_not_used_in_one_gap_are_not_added_to_the_next() -> None:
    teacher = Teacher(adverts=1500)
    teacher.ask(NEWCOMER, 0, 1)
    teacher.go_on(100 * GAP_S)
    teacher.ask(NEWCOMER)
    assert teacher.told[NEWCOMER] == 1 + config.ANSWER_PARTS


def test_after_a_gap_in_which_nobody_waits_the_first_parts_go_out_at_once_again() -> None:
    teacher = Teacher(adverts=1)
    for turn in range(1, 6):
        for host in hosts(config.ANSWER_PARTS):
            teacher.ask(host)
        assert teacher.told == Counter(dict.fromkeys(hosts(config.ANSWER_PARTS), turn))
        teacher.go_on(GAP_S)


def time_to_tell_a_newcomer(flood: list[Address]) -> float:
    """While these ask for ever new ranges of everything, as fast as is read of one machine."""
    teacher = Teacher(adverts=1500)
    asked, begun_at = 0, teacher.now + 0.5

    def flood_once() -> None:
        nonlocal asked
        turn, place = divmod(asked, len(flood))
        teacher.ask(flood[place], turn % MAX_ANSWERS_EACH, teacher.adverts - MAX_ANSWERS_EACH + turn % MAX_ANSWERS_EACH)
        asked += 1

    while teacher.now < begun_at:
        if flood:
            flood_once()
        teacher.go_on(ASK_S)
    teacher.ask(NEWCOMER)
    while teacher.version[NEWCOMER] < teacher.adverts:
        if flood:
            flood_once()
        teacher.go_on(ASK_S)
        assert teacher.now < begun_at + 5, f"the newcomer has {teacher.version[NEWCOMER]} of {teacher.adverts}"
    return teacher.now - begun_at


@pytest.mark.parametrize("number", [1, 64, 1024])
def test_a_machine_that_asks_for_all_it_can_from_many_ports_takes_half_the_pace_at_most(number: int) -> None:
    alone_s = time_to_tell_a_newcomer(flood=[])
    assert time_to_tell_a_newcomer(flood=ports(number)) <= 2 * (alone_s + GAP_S)


def test_machines_have_one_turn_each_and_share_it_among_their_beacons() -> None:
    teacher = Teacher(adverts=1500)
    alone, together = NEWCOMER, ports(3, "10.0.0.8")
    for who in (*together, alone):
        teacher.ask(who)
    first = teacher.told.copy()  # who asked first had the first parts at once
    teacher.go_on(3 * GAP_S)
    since = teacher.told - first
    assert since.total() == 3 * config.ANSWER_PARTS
    assert since[alone] == pytest.approx(3 * config.ANSWER_PARTS / 2, abs=1)
    for beacon in together:
        assert since[beacon] == pytest.approx(config.ANSWER_PARTS / 2, abs=1)


def test_what_one_address_waits_for_comes_in_the_order_in_which_it_asked() -> None:
    teacher = Teacher(adverts=1500)
    for host in hosts(config.ANSWER_PARTS):
        teacher.ask(host, 0, 1)
    for since in range(0, 1500, 100):
        teacher.ask(NEWCOMER, since, since + 100)
    for _ in range(10):
        before = teacher.told[NEWCOMER]
        teacher.go_on(GAP_S)
        if teacher.version[NEWCOMER] == teacher.adverts:
            break
        assert teacher.told[NEWCOMER] == before + config.ANSWER_PARTS
    assert teacher.version[NEWCOMER] == teacher.adverts


def test_who_asks_for_what_has_just_gone_out_is_not_told_twice_but_a_moment_later_is() -> None:
    teacher = Teacher(adverts=1500)
    for asker in (NEWCOMER, *hosts(4 * config.ANSWER_PARTS)):
        teacher.ask(asker)
    while teacher.told[NEWCOMER] == config.ANSWER_PARTS:
        had = teacher.version[NEWCOMER]
        teacher.go_on(GAP_S)
    teacher.ask(NEWCOMER, had)
    assert teacher.next_of(NEWCOMER) == teacher.version[NEWCOMER]
    teacher.go_on(GAP_S)
    teacher.ask(NEWCOMER, had)
    assert teacher.next_of(NEWCOMER) == had


def test_a_wider_range_takes_the_place_of_those_within_it() -> None:
    teacher = Teacher(adverts=400)
    teacher.ask(hosts(1)[0])
    for since in range(10):
        teacher.ask(NEWCOMER, since, 300 + since)
    assert teacher.waiting() == 11
    teacher.ask(NEWCOMER)
    assert teacher.waiting() == 2


def test_however_many_ask_for_however_much_so_many_answers_wait_at_most() -> None:
    teacher = Teacher(adverts=400)

    def ask_for_all(who: list[Address]) -> None:
        for address in who:
            for since in range(MAX_ANSWERS_EACH + 4):
                teacher.ask(address, since, since + 300)

    machines = [ports(10, f"10.66.66.{number}") for number in range(40)]
    ask_for_all(machines[0])
    assert teacher.waiting() == MAX_ANSWERS_PER_MACHINE
    for machine in machines[1:]:
        ask_for_all(machine)
    assert teacher.waiting() == MAX_ANSWERS
    teacher.ask(NEWCOMER)
    assert teacher.waiting() == MAX_ANSWERS
    teacher.go_on(2 * GAP_S)
    assert teacher.told[NEWCOMER] > 0, "who waits for least gets in, and has its turn"
