"""The seal against who records everything and replays it: who lives is found and stays found; who is gone is asked for little."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from itertools import cycle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nwdisco import config
from nwdisco.core.contacts import Address
from nwdisco.core.sealed import CHALLENGE, MAX_ASKED, NO_NONCE, RESPONSE, SealedWire

KEY = b"k" * 32
BEAT = b'nw1["beat","AbCdEfGh",10000,5,5]'
STEP_S = 0.001
"""Between two replays."""
BEAT_STEPS = 1380
WAY_STEPS = 2
"""So long each answer is on its way."""
EVIL: Address = ("10.0.0.66", 6666)
NONCE = b"12345678"


def one_place(step: int) -> Address:
    return EVIL


def one_ip(step: int) -> Address:
    return EVIL[0], 1024 + step % 60_000


def everywhere(step: int) -> Address:
    return f"10.1.{step // 250 % 250}.{step % 250}", 6666


def beside_a(step: int) -> Address:
    return "10.0.0.1", 2000 + step % 60_000


PLACES = pytest.mark.parametrize("place", [one_place, one_ip, everywhere, beside_a])
"""Where replays come from: one address of the replayer's, all its ports, forged addresses, another port of who is replayed."""
Place = Callable[[int], Address]


class End:
    """One beacon's wire, with an address."""

    def __init__(self, number: int, name: str = "node") -> None:
        self.address: Address = (f"10.0.0.{number % 250}", 1000 + number)
        self.node = f"{name}{number:04}"
        self.wire = SealedWire(KEY, "", self.node, Counter(), 0.0)

    def says(self) -> bytes:
        return self.wire.seal(BEAT)

    def hears(self, data: bytes, source: Address, now: float) -> bool:
        return self.wire.open(data, source, now) == BEAT

    def answers(self) -> list[tuple[bytes, Address]]:
        answers = list(self.wire.outbox)
        self.wire.outbox.clear()
        return answers


class Air:
    """Two beacons, and somebody who replays to both; what is sent to another address gets to neither."""

    def __init__(self) -> None:
        self.a, self.b = End(1), End(2)
        self.now = 0.0
        self.steps = 0
        self.recorded: list[bytes] = []
        self.answered = 0
        """How many answers went to somebody else than the two."""
        self._under_way: list[tuple[int, End, bytes, Address]] = []

    def step(self, replays: Iterator[bytes] | None = None, place: Place = one_place) -> None:
        """A moment passes; of the replays, the next one comes."""
        self.steps += 1
        self.now = self.steps * STEP_S
        for replayed in [] if replays is None else [next(replays)]:
            for end in (self.a, self.b):
                end.hears(replayed, place(self.steps), self.now)
        arrived = [one for one in self._under_way if one[0] <= self.steps]
        self._under_way = [one for one in self._under_way if one[0] > self.steps]
        for _, end, data, source in arrived:
            end.hears(data, source, self.now)
        for sender, other in ((self.a, self.b), (self.b, self.a)):
            for data, to in sender.answers():
                if to == other.address:
                    self._under_way.append((self.steps + WAY_STEPS, other, data, sender.address))
                else:
                    self.answered += 1

    def beat(self) -> tuple[bool, bool]:
        """Both say something; whether a believes b, and b believes a."""
        from_a, from_b = self.a.says(), self.b.says()
        self.recorded += [from_a, from_b]
        heard = self.a.hears(from_b, self.b.address, self.now), self.b.hears(from_a, self.a.address, self.now)
        return heard

    def beats(
        self, until_s: float, replays: Callable[[], Iterator[bytes]] | None = None, place: Place = one_place
    ) -> list[tuple[bool, bool]]:
        """Both beat; meanwhile replays come, which are recorded anew with each beat."""
        heard, again = [], None
        while self.now < until_s:
            heard.append(self.beat())
            again = replays() if replays is not None else None
            for _ in range(BEAT_STEPS):
                self.step(again, place)
        return heard

    def first(self) -> Iterator[bytes]:
        return cycle(self.recorded[:1])

    def last(self) -> Iterator[bytes]:
        return cycle(self.recorded[-2:])

    def all(self) -> Iterator[bytes]:
        return cycle(tuple(self.recorded))


REPLAYS = pytest.mark.parametrize("replays", [Air.first, Air.last, Air.all])
"""What is replayed: one datagram, the newest of both, all of both in their order."""
Replays = Callable[[Air], Iterator[bytes]]


@pytest.fixture
def air() -> Air:
    return Air()


def both_meet(air: Air) -> None:
    air.beats(3.0)
    assert air.beat() == (True, True)


# --- who lives is found, and stays found ---


@PLACES
@REPLAYS
def test_replays_keep_no_known_node_from_proving_itself_again(air: Air, replays: Replays, place: Place) -> None:
    both_meet(air)
    air.beats(config.SESSION_S - 4.0)
    heard = air.beats(config.SESSION_S + 12.0, lambda: replays(air), place)
    assert set(heard) == {(True, True)}, f"a believed b, b believed a, beat for beat: {heard}"


@PLACES
@REPLAYS
def test_replays_hide_no_node_from_a_newcomer(air: Air, replays: Replays, place: Place) -> None:
    air.beats(20.0)
    air.b = End(2, "next")
    for end, replayed in ((end, data) for data in air.recorded for end in (air.a, air.b)):
        end.hears(replayed, place(0), air.now)
    heard = air.beats(air.now + 8.0, lambda: replays(air), place)
    assert set(heard[2:]) == {(True, True)}, f"a believed b, b believed a, beat for beat: {heard}"


@PLACES
@REPLAYS
def test_replays_hide_no_node_that_is_back_after_a_silence(air: Air, replays: Replays, place: Place) -> None:
    both_meet(air)
    again = replays(air)
    for _ in range(int((config.SESSION_SILENT_S + 1.0) / STEP_S)):
        air.step(again, place)
    heard = air.beats(air.now + 6.0, lambda: replays(air), place)
    assert heard[0] == (False, False), "silent for so long"
    assert set(heard[2:]) == {(True, True)}, f"a believed b, b believed a, beat for beat: {heard}"


@pytest.mark.parametrize("is_known", [True, False], ids=["known", "new"])
def test_who_replays_faster_than_the_network_is_not_asked_alone(air: Air, is_known: bool) -> None:
    """Its copies come before what was copied, from an address and all ports of its own."""
    if is_known:
        both_meet(air)
        air.beats(config.SESSION_S - 1.0)
    heard = []
    for number in range(16):
        said = air.a.says()
        for port in range(100):
            is_taken = air.b.hears(said, (EVIL[0], 1024 + port), air.now)
            heard += [is_taken] if port == 0 else []
        air.b.hears(said, air.a.address, air.now)
        for _ in range(BEAT_STEPS if number else 100):
            air.step()
    assert all(heard[0 if is_known else 2 :]), "taken from the replayer's address: the source is not under the seal"


def test_a_known_node_is_back_after_a_silence_though_strangers_replays_use_up_the_challenges(air: Air) -> None:
    both_meet(air)
    later = air.now + config.SESSION_SILENT_S + 1.0
    gone = [End(number, "gone") for number in range(1000)]
    for one in gone:
        air.b.hears(one.says(), EVIL, later)
    assert len(air.b.answers()) == config.CHALLENGES_PER_S
    assert not air.b.hears(air.a.says(), air.a.address, later)
    [(challenge, to)] = air.b.answers()
    assert to == air.a.address
    air.a.hears(challenge, air.b.address, later)
    for response, _ in air.a.answers():
        air.b.hears(response, air.a.address, later)
    assert air.b.hears(air.a.says(), air.a.address, later)


def test_a_newcomer_that_asks_is_asked_in_the_answer_though_strangers_replays_use_up_the_challenges(air: Air) -> None:
    """So one of two that meet is enough that has challenges left."""
    a, b = air.a, air.b
    for number in range(1000):
        b.hears(End(number, "gone").says(), EVIL, 0.0)
    b.answers()
    a.hears(b.says(), b.address, 0.0)
    for one, other in ((a, b), (b, a), (a, b)):
        for data, _ in one.answers():
            other.hears(data, one.address, 0.0)
    assert b.hears(a.says(), a.address, 0.0)
    assert a.hears(b.says(), b.address, 0.0)


@given(st.data())
def test_whatever_is_replayed_from_anywhere_is_taken_once_pays_nobody_and_hides_nobody(data: st.DataObject) -> None:
    """All that was ever sent is heard by somebody who delivers any of it, to either, from any address, at any time."""
    air = Air()
    ends, places = (air.a, air.b), (air.a.address, air.b.address, EVIL, (air.a.address[0], 9), ("10.0.0.77", 7))
    recorded, taken = [], set[tuple[str, bytes]]()
    sizes: Counter[tuple[str, Address]] = Counter()

    def deliver(end: End, sent: bytes, source: Address) -> bool:
        sizes[end.node, source] += len(sent)
        is_taken = end.hears(sent, source, air.now)
        assert not is_taken or (end.node, sent) not in taken
        taken.update([(end.node, sent)] if is_taken else [])
        for answer, to in end.answers():
            sizes[end.node, to] -= len(answer)
            assert sizes[end.node, to] >= 0
            recorded.append(answer)
        return is_taken

    for _ in range(data.draw(st.integers(0, 60))):
        air.now += data.draw(st.sampled_from([0.0, 0.01, 0.2, 2.0, 4.0, 6.0, 50.0]))
        recorded.append(data.draw(st.sampled_from(ends)).says())
        for _ in range(data.draw(st.integers(0, 4))):
            deliver(
                data.draw(st.sampled_from(ends)),
                data.draw(st.sampled_from(recorded)),
                data.draw(st.sampled_from(places)),
            )

    for _ in range(3):
        air.now += 1.38
        believed = [deliver(air.b, air.a.says(), air.a.address), deliver(air.a, air.b.says(), air.b.address)]
        for _ in range(4):
            for sent in recorded[-8:]:
                deliver(air.b, sent, air.a.address)
                deliver(air.a, sent, air.b.address)
    assert believed == [True, True]


# --- who is gone is asked for little ---


@PLACES
def test_a_datagram_of_a_node_that_is_gone_is_answered_from_few_addresses_and_from_each_once(place: Place) -> None:
    b, gone = End(2), End(1)
    recorded = [gone.says() for _ in range(20)]
    for step in range(20_000):
        b.hears(recorded[step // 1000], place(step), step * STEP_S)
    assert len(b.answers()) <= MAX_ASKED * len(recorded)
    for step in range(20_000):
        b.hears(recorded[step % 20], place(step), 20.0 + step * STEP_S)
    assert len(b.answers()) <= MAX_ASKED, "what is older than the newest that was heard is asked for no more"


def test_who_says_much_before_it_has_proved_itself_is_challenged_now_and_then(air: Air) -> None:
    for step in range(1000):
        air.b.hears(air.a.says(), air.a.address, step * STEP_S)
    assert len(air.b.answers()) <= 1.0 / config.CHALLENGE_AGAIN_S


def test_what_is_older_than_the_newest_of_a_known_node_brings_no_challenge_when_its_proof_is_due(air: Air) -> None:
    both_meet(air)
    overtaken, *taken = [air.a.says() for _ in range(20)]
    assert all(air.b.hears(said, air.a.address, air.now) for said in taken)
    for now in (air.now + config.SESSION_S + 1.0, air.now + config.SESSION_S * 2):
        for number, said in enumerate((overtaken, *taken[:-1])):
            air.b.hears(said, everywhere(250 * number), now)
        assert air.b.answers() == []


@PLACES
def test_no_more_challenges_leave_than_the_budgets_have_whatever_is_replayed(place: Place) -> None:
    b = End(2)
    gone = [End(number, "gone") for number in range(config.MAX_NODES + 1000)]
    recorded = cycle([one.says() for one in gone] + [one.says() for one in gone])
    for step in range(20_000):
        b.hears(next(recorded), place(step), step * STEP_S / 4)
    answers = b.answers()
    assert len(answers) <= 6 * config.CHALLENGES_PER_S
    assert {data[-17:-16] for data, _ in answers} == {CHALLENGE}
    assert len(b.wire._challenges) <= config.MAX_NODES


def test_the_nonces_that_replays_bring_push_out_none_that_is_still_answered() -> None:
    assert config.CHALLENGES_PER_S * config.SESSION_SILENT_S < config.MAX_NODES


# --- what a relayed challenge or response is worth ---


def test_a_challenge_is_answered_by_the_node_that_it_names_alone(air: Air) -> None:
    """So what a replayer is asked is of no use elsewhere: it does not use up another one's responses."""
    for number in range(2000):
        air.b.hears(End(number, "gone").says(), EVIL, number * 0.002)
    relayed = air.b.answers()
    assert len(relayed) > 500
    for challenge, _ in relayed:
        air.a.hears(challenge, air.b.address, 4.0)
    assert air.a.answers() == []
    air.b.hears(air.a.says(), air.a.address, 5.0)
    [(challenge, _)] = air.b.answers()
    assert challenge.endswith(air.a.node.encode())
    air.a.hears(challenge, air.b.address, 5.0)
    assert len(air.a.answers()) == 1


def test_a_response_that_is_none_is_not_responded_to(air: Air) -> None:
    """A recorded response with a nonce of its own, say."""
    for number in range(100):
        air.b.hears(End(number, "gone").wire._sealed(RESPONSE, NONCE + NONCE), EVIL, 0.0)
    assert air.b.answers() == []


def asked_in_two_places(air: Air, now: float) -> tuple[bytes, bytes]:
    """Both responses of a, that of the replayer's copy first: b asked both with one nonce."""
    said = air.a.says()
    air.b.hears(said, EVIL, now)
    air.b.hears(said, air.a.address, now)
    challenges = dict((to, data) for data, to in air.b.answers())
    assert set(challenges) == {EVIL, air.a.address}
    assert len({data[-16:-8] for data in challenges.values()}) == 1
    for to in (EVIL, air.a.address):
        air.a.hears(challenges[to], to, now)
    (first, _), (second, _) = air.a.answers()
    return first, second


def test_one_challenge_in_two_places_begins_one_session_and_the_other_response_is_worth_nothing(air: Air) -> None:
    first, second = asked_in_two_places(air, 0.0)
    taken = air.a.says()
    air.b.hears(second, air.a.address, 0.1)
    assert air.b.hears(taken, air.a.address, 0.1)
    session = air.b.wire._sessions[air.a.node.encode()]
    highest, proved_at = session.highest, session.proved_at
    for now in (0.2, 4.0):
        air.b.hears(first, EVIL, now)
        air.b.hears(second, EVIL, now)
        assert not air.b.hears(taken, EVIL, now)
    assert air.b.wire._sessions[air.a.node.encode()] is session
    assert (session.highest, session.proved_at) == (highest, proved_at)


def test_a_response_that_is_held_back_puts_no_count_back(air: Air) -> None:
    """Of a session that has gone on meanwhile, or was silent from then on: a count that was taken stays taken."""
    both_meet(air)
    air.beats(config.SESSION_S + 0.5)
    began_at = air.now + 3.0
    first, _ = asked_in_two_places(air, began_at)
    taken = [air.a.says() for _ in range(100)]
    for data in taken:
        assert air.b.hears(data, air.a.address, began_at)
    for now in (began_at + config.SESSION_SILENT_S - 0.1, began_at + config.SESSION_SILENT_S + 0.1):
        air.b.hears(first, EVIL, now)
        assert not any(air.b.hears(data, EVIL, now) for data in taken)


def test_a_nonce_stands_for_a_while_whoever_is_asked_and_no_response_is_taken_after_that() -> None:
    b, a = End(2), End(1)
    nonces: dict[bytes, list[float]] = {}
    for step in range(100):
        now = step * 0.11
        b.hears(a.says(), everywhere(step), now)
        for challenge, _ in b.answers():
            nonces.setdefault(challenge[-16:-8], []).append(now)
    assert len(nonces) == 5
    assert all(times[-1] - times[0] <= config.SESSION_SILENT_S / 2 for times in nonces.values())
    nonce, (made_at, *_) = list(nonces.items())[-1]
    response = a.wire._sealed(RESPONSE, nonce + NO_NONCE)
    b.hears(response, a.address, made_at + config.SESSION_SILENT_S + 0.01)
    assert b.wire._sessions == {}
    b.hears(response, a.address, made_at + config.SESSION_SILENT_S - 0.01)
    assert b.wire._sessions.keys() == {a.node.encode()}
