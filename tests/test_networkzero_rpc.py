"""What programs of NetworkZero's ask the beacon of their machine, and the answers, without a socket."""

from __future__ import annotations

import json
from collections.abc import Callable
from math import inf

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nwdisco import config
from nwdisco.core.advert import Advert
from nwdisco.core.directory import Directory
from nwdisco.core.networkzero_rpc import Rpc, Text
from tests.networkzero_desk import IP, json_values


class Door:
    """The door's core, with clients that are numbers."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.settled = True
        self.later: list[Callable[[], None]] = []
        self.done: list[str] = []
        self.directory = Directory("node-one")
        self.rpc = Rpc(
            self.directory,
            lambda: self.now,
            lambda: IP,
            self._complete,
            lambda action: action() if self.settled else self.later.append(action),
            lambda paused: self.done.append("pause" if paused else "resume"),
            lambda: self.done.append("forget"),
        )
        self.directory.on_event.append(self.rpc.changed)

    def _complete(self, address: Text, then: Callable[[str | None], None]) -> None:
        if address == "slow":
            self.later.append(lambda: then("10.9.9.9:9"))
        else:
            known: dict[Text, str | None] = {None: ":50000", "bad": None}
            then(known.get(address, str(address)))

    def send(self, *request: object, client: str = "c") -> None:
        self.rpc.receive((client.encode(),), json.dumps(request).encode())

    def answers(self) -> list[object]:
        found = [json.loads(answer) for _, answer in self.rpc.outbox]
        self.rpc.outbox.clear()
        return found

    def ask(self, *request: object) -> object:
        self.send(*request)
        (answer,) = self.answers()
        return answer

    def run_to(self, now: float) -> None:
        while (due := self.rpc.due) is not None and due <= now:
            self.now = max(self.now, due)
            self.rpc.wake(self.now)
        self.now = now


@pytest.fixture
def door() -> Door:
    return Door()


def test_an_advert_is_completed_stands_and_is_taken_back(door: Door) -> None:
    assert door.ask("advertise", "x", None, False, 20) == f"{IP}:50000"
    assert door.ask("advertise", "y", "10.0.0.1:5") == "10.0.0.1:5"
    assert door.ask("discover", "x", 0.5) == f"{IP}:50000"
    assert door.ask("discover_all") == [["x", f"{IP}:50000"], ["y", "10.0.0.1:5"]]
    found = door.directory.get("x")
    assert found is not None
    assert (found.picked, found.properties, found.ttl_s) == (True, {}, 20)
    assert door.ask("unadvertise", "x") is None
    assert door.ask("unadvertise", "x") is None
    assert door.ask("discover_all", 0.5) == [["y", "10.0.0.1:5"]]
    assert len(door.rpc) == 1


def test_a_name_that_anybody_has_is_taken_where_that_is_asked(door: Door) -> None:
    door.directory.put(Advert("x", "a:1", {}, 5.0, "node-two", "node-two", door.now))
    assert door.ask("advertise", "x", "b:2", True, 20) is None
    assert door.ask("advertise", "x", "b:2", False, 20) == "b:2"
    assert door.ask("discover", "x", 0) == "b:2"
    assert door.ask("advertise", "x", "b:2", True, 20) is None


def test_whether_it_is_taken_is_known_once_the_lan_is(door: Door) -> None:
    door.settled = False
    door.send("advertise", "x", "b:2", True, 20)
    door.send("discover_all", 0.5)
    assert door.answers() == []
    door.directory.put(Advert("x", "a:1", {}, 5.0, "node-two", "node-two", door.now))
    for action in door.later:
        action()
    assert door.answers() == [None, [["x", "a:1"]]]


def test_what_a_program_waits_for_is_answered_the_moment_it_is_there(door: Door) -> None:
    for client in ("a", "b"):
        door.send("discover", "x", 0.5, client=client)
    door.send("discover", "y", 0.5)
    door.send("discover_all", 0.5)
    assert door.answers() == []
    door.send("advertise", "x", "a:1", client="d")
    assert sorted(map(str, door.answers())) == sorted(map(str, ["a:1", "a:1", [["x", "a:1"]], "a:1"]))
    door.run_to(1000.49)
    assert door.answers() == []
    door.run_to(1000.5)
    assert door.answers() == [None]
    assert door.rpc.waiting == 0
    assert door.rpc.due is None


def test_nothing_within_the_time_is_null_or_an_empty_list(door: Door) -> None:
    assert door.ask("discover", "x", 0) is None
    assert door.ask("discover", "x", -1) is None
    assert door.ask("discover_all") == []
    door.send("discover_all", 0.5)
    door.send("discover", "x", None)
    door.send("discover", "x", 1e9)
    door.run_to(1000 + config.NETWORKZERO_WAIT_S)
    assert door.answers() == [[], None, None]


def test_past_the_limit_a_discovery_does_not_wait(door: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(config, "MAX_NETWORKZERO_WAITING", 2)
    for _ in range(3):
        door.send("discover", "x", 0.5)
    assert door.answers() == [None]


def test_discoveries_that_were_answered_wait_no_more(door: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(config, "MAX_NETWORKZERO_WAITING", 2)
    for number in range(20):
        door.send("discover", f"x{number}", 60)
        door.send("advertise", f"x{number}", "a:1")
    assert door.answers() == ["a:1"] * 40
    assert door.rpc.waiting == 0
    for _ in range(3):
        door.send("discover", "absent", 60)
    assert door.answers() == [None], "the third of those that wait"
    assert len(door.rpc._ends) <= 2 * 2, "what is kept of the answered"
    door.run_to(1060)
    assert door.answers() == [None] * 2
    assert door.rpc.due is None


def test_a_slow_look_up_holds_up_nobody(door: Door) -> None:
    door.send("advertise", "x", "slow")
    assert door.ask("advertise", "y", "a:1") == "a:1"
    door.later[0]()
    assert door.answers() == ["10.9.9.9:9"]


def test_pause_resume_reset_and_stop(door: Door) -> None:
    door.ask("advertise", "x", "a:1")
    door.directory.put(Advert("stays", "a:1", {}, 5.0, "node-one", "node-one#1", door.now))
    for action in ("pause", "resume", "reset", "stop"):
        assert door.ask(action) is None
    assert door.done == ["pause", "resume", "forget", "resume"]
    assert door.ask("discover_all") == [["stays", "a:1"]]
    assert len(door.rpc) == 0


def test_the_lives_that_programs_give_are_what_networkzero_is_told(door: Door) -> None:
    for name, ttl_s in (("short", 4), ("endless", None), ("none", 0), ("long", 1e9)):
        door.ask("advertise", name, "a:1", False, ttl_s)
    lives = {advert.name: (door.rpc.life_of(advert), advert.ttl_s) for advert in door.directory.all()}
    assert lives == {
        "short": (4, 4),
        "endless": (inf, config.TTL_S),
        "none": (0, config.MIN_TTL_S),
        "long": (1e9, config.MAX_TTL_S),
    }


def test_past_the_limit_an_advert_is_refused_and_those_there_can_change(
    door: Door, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(config, "MAX_NETWORKZERO_ADVERTS", 2)
    assert [door.ask("advertise", name, "a:1") for name in ("a", "b", "c")] == ["a:1", "a:1", None]
    assert door.ask("advertise", "a", "b:2") == "b:2"
    monkeypatch.setattr(config, "MAX_ADVERTS", 2)
    door.ask("unadvertise", "a")
    door.directory.put(Advert("x", "a:1", {}, 5.0, "node-one", "node-one#1", door.now))
    assert door.ask("advertise", "a", "a:1") is None
    assert len(door.rpc) == 1
    assert door.rpc.counters["over_limit"] == 2


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"", "malformed"),
        (b"\xff", "malformed"),
        (b"{}", "malformed"),
        (b"[]", "malformed"),
        (b'["explode"]', "malformed"),
        (b'["advertise"]', "malformed"),
        (b'["advertise",1]', "malformed"),
        (b'["advertise","x",[]]', "malformed"),
        (b'["advertise","x",1e400]', "malformed"),
        (b'["discover","x","soon"]', "malformed"),
        (b"[" * 8000, "malformed"),
        (b'["advertise",""]', "bad_advert"),
        (b'["advertise","a\\nb"]', "bad_advert"),
        (b'["advertise","x","bad"]', "bad_address"),
    ],
)
def test_a_bad_request_is_answered_null_and_counted_and_the_first_is_noted(door: Door, data: bytes, code: str) -> None:
    for _ in range(3):
        door.rpc.receive((b"c",), data)
    assert door.answers() == [None] * 3
    assert door.rpc.counters == {code: 3}
    assert len(door.rpc.notes) == 1


@given(
    st.lists(
        st.binary(max_size=40)
        | json_values.map(lambda value: json.dumps(value).encode())
        | st.tuples(
            st.sampled_from(["advertise", "unadvertise", "discover", "discover_all", "pause", "reset", "stop"]),
            st.lists(json_values | st.just("x") | st.sampled_from([0, 0.5, 20]), max_size=5),
        ).map(lambda request: json.dumps([request[0], *request[1]]).encode()),
        max_size=20,
    )
)
def test_every_request_has_one_answer_whatever_it_holds(requests: list[bytes]) -> None:
    door = Door()
    for number, data in enumerate(requests):
        door.rpc.receive((str(number).encode(),), data)
    door.run_to(1000 + config.NETWORKZERO_WAIT_S)
    assert sorted(int(client) for (client,), _ in door.rpc.outbox) == list(range(len(requests)))
    assert door.rpc.waiting == 0
