"""The examples that send messages and news, run as a reader would: real programs, typed to, on one machine or several."""

from __future__ import annotations

import re
import signal
from pathlib import Path

from tests.cookbook.running import Running
from tests.machines import Machine, wait_until
from tests.namespaces import Network

EXAMPLES = Path(__file__).parent.parent / "examples"


def run(machine: Machine, path: str, *args: str, by_hand: bool = False, **env: str) -> Running:
    return Running(machine, EXAMPLES / path, *args, by_hand=by_hand, **env)


def wait_for_adverts(machine: Machine, *names: str) -> None:
    """Until these are there, and no others."""
    wait_until(lambda: sorted(names) == machine.names(), f"the adverts {names}")


# --- chat.py ---------------------------------------------------------------------------------------------


def test_people_on_three_hosts_chat_come_and_go(network: Network) -> None:
    hosts = [network.host() for _ in range(3)]
    alice = run(hosts[0], "chat.py", "alice")
    alice.shows(r"You are in the room chat, alice\..*")
    bob = run(hosts[1], "chat.py", "bob")
    alice.shows(r"\* chat/bob joined")
    bob.shows(r"\* chat/alice joined")
    carol = run(hosts[2], "chat.py", "carol")
    for person in (alice, bob):
        person.shows(r"\* chat/carol joined")
        carol.shows(rf"\* chat/{person.process.args[-1]} joined")  # type: ignore[index]
    bob.types("hello, all of you")
    alice.shows("bob: hello, all of you")
    carol.shows("bob: hello, all of you")
    assert not any(line.startswith("bob:") for line in bob.lines())
    bob.kill()
    alice.shows(r"\* chat/bob left")
    carol.shows(r"\* chat/bob left")
    alice.types("where is bob?")
    carol.shows("alice: where is bob\\?")
    alice.ends_its_input()
    carol.shows(r"\* chat/alice left")
    alice.ends()
    carol.interrupt()
    carol.ends()
    for person in (alice, carol):
        assert person.lines()[-1] == "Bye."
        assert person.errors() == ""


def test_a_room_does_not_hear_what_is_said_in_another(machine: Machine) -> None:
    people = {(name, room): run(machine, "chat.py", name, room) for name in ("al", "bo") for room in ("red", "blue")}
    for (name, room), person in people.items():
        person.shows(rf"\* {room}/{'bo' if name == 'al' else 'al'} joined")
    people["al", "blue"].types("blue words")
    people["bo", "blue"].shows("al: blue words")
    people["al", "red"].types("red words")
    people["bo", "red"].shows("al: red words")
    assert not any("blue" in line for line in people["bo", "red"].lines())


def test_a_name_is_in_the_room_once(machine: Machine) -> None:
    run(machine, "chat.py", "alice").shows("You are in the room chat, alice.*")
    other = run(machine, "chat.py", "alice")
    other.ends(status=1)
    assert "alice is in the room already" in other.errors()
    assert "Traceback" not in other.errors()


def test_who_hangs_keeps_nobody_from_chatting(machine: Machine) -> None:
    alice, bob, carol = (run(machine, "chat.py", name) for name in ("alice", "bob", "carol"))
    for person, others in (alice, "bob carol"), (carol, "alice bob"):
        for other in others.split():
            person.shows(rf"\* chat/{other} joined")
    bob.process.send_signal(signal.SIGSTOP)
    alice.types("one")
    carol.shows("alice: one")
    alice.shows(r"\* chat/bob does not answer")
    alice.types("two")
    carol.shows("alice: two")
    bob.process.send_signal(signal.SIGCONT)
    alice.types("three")
    bob.shows("alice: three")
    carol.shows("alice: three")


# --- classroom/ ------------------------------------------------------------------------------------------


def test_a_master_and_nodes_on_other_hosts_that_come_and_go(network: Network) -> None:
    hosts = [network.host() for _ in range(3)]
    master = run(hosts[0], "classroom/master.py")
    anna = run(hosts[1], "classroom/node.py", "anna")
    lamp = run(hosts[2], "classroom/lamp.py", "lamp")
    master.shows(r"\* classroom/anna joined")
    master.shows(r"\* classroom/lamp joined")
    master.types("add 1 2 39")
    master.shows("classroom/anna: 42")
    master.shows("classroom/lamp: a lamp does not add")
    master.types("@lamp blink 1")
    master.shows("classroom/lamp: done")
    assert lamp.lines()[1:] == ["lamp on", "lamp off"]
    master.types("@anna add one two")
    master.shows("classroom/anna: that went wrong: .*'one'")

    master.types("@anna work 3600")
    anna.shows("working .*")
    anna.kill()
    master.shows("classroom/anna went before it answered")
    master.shows(r"\* classroom/anna left")

    ben = run(hosts[1], "classroom/node.py", "ben")
    master.shows(r"\* classroom/ben joined")
    master.types("@ben say hello to all")
    master.shows("classroom/ben: said it")
    assert ben.lines()[-1] == "hello to all"
    master.types("stop")
    master.shows("classroom/ben: bye")
    master.shows(r"\* classroom/ben left")
    ben.ends()
    lamp.interrupt()
    master.shows(r"\* classroom/lamp left")
    lamp.ends()
    master.interrupt()
    master.ends()
    assert master.errors() == lamp.errors() == ben.errors() == ""


def test_a_node_whose_cable_is_pulled_is_not_waited_for(network: Network) -> None:
    hosts = [network.host() for _ in range(2)]
    master = run(hosts[0], "classroom/master.py")
    anna = run(hosts[1], "classroom/node.py", "anna")
    master.shows(r"\* classroom/anna joined")
    master.types("work 3600")
    anna.shows("working .*")
    hosts[1].cable(False)
    master.shows("classroom/anna went before it answered")
    master.types("say hello")
    master.shows(r"\(0 told\)")


def test_the_lamp_of_a_pi_is_its_led(machine: Machine, place: Path) -> None:
    (place / "pi").mkdir()
    (place / "pi" / "gpiozero.py").write_text(
        "class LED:\n"
        "    def __init__(self, pin): self.pin = pin\n"
        "    def on(self): print('pin', self.pin, 'high')\n"
        "    def off(self): print('pin', self.pin, 'low')\n"
    )
    lamp = run(machine, "classroom/lamp.py", "lamp", PYTHONPATH=str(place / "pi"))
    master = run(machine, "classroom/master.py")
    master.shows(r"\* classroom/lamp joined")
    for command in ("on", "off"):
        master.types(command)
    lamp.shows("pin 17 low")
    assert lamp.lines()[1:] == ["pin 17 high", "pin 17 low"]


def test_a_lamp_without_pins_prints(machine: Machine, place: Path) -> None:
    (place / "pc").mkdir()
    (place / "pc" / "gpiozero.py").write_text("def LED(pin): raise RuntimeError('no pins here')\n")
    lamp = run(machine, "classroom/lamp.py", "lamp", PYTHONPATH=str(place / "pc"))
    master = run(machine, "classroom/master.py")
    master.shows(r"\* classroom/lamp joined")
    master.types("on")
    lamp.shows("lamp on")


def test_the_seeds_cluster_on_four_hosts(network: Network) -> None:
    hosts = [network.host() for _ in range(4)]
    a = run(hosts[0], "classroom/node_a.py")
    b = run(hosts[1], "classroom/node_b.py")
    wait_for_adverts(hosts[3], "cluster/A", "cluster/B")
    master = run(hosts[3], "classroom/cluster_master.py", by_hand=True)
    assert sorted(master.shows("Nodes: (.*)")[1].split(", ")) == ["cluster/A", "cluster/B"]
    c = run(hosts[2], "classroom/node_c.py", by_hand=True)
    c.shows("sleeps 3 s")
    c.wakes()
    a.ends(status=1)
    assert a.errors().endswith("RuntimeError\n")
    master.shows("sleeps 5 s")
    wait_for_adverts(hosts[3], "cluster/B", "cluster/C", "cluster/master")
    master.wakes()
    for program in (b, c, master):
        program.ends()
    assert master.lines()[2:] == ["cluster/A has left the cluster", "cluster/C has joined the cluster"]
    wait_for_adverts(hosts[0])


# --- scoreboard.py ---------------------------------------------------------------------------------------


def until_it_hears_news(watcher: Running, player: Running) -> None:
    """Play for no points until the watcher's subscription has come to the board: older news nobody keeps."""

    def heard() -> bool:
        played = len(player.lines())
        player.types("0")
        player.shows(r"You have \d+ points\.", after=played)
        return bool(watcher.lines())

    wait_until(heard, f"{watcher.path.name}'s first news")


def test_the_board_tells_the_watchers_what_the_players_score(network: Network) -> None:
    hosts = [network.host() for _ in range(3)]
    board = run(hosts[0], "scoreboard.py", "board")
    board.shows("The board is open.")
    alice, bob = run(hosts[1], "scoreboard.py", "play", "alice"), run(hosts[2], "scoreboard.py", "play", "bob")
    everything = run(hosts[1], "scoreboard.py", "watch")
    of_bob = run(hosts[2], "scoreboard.py", "watch", "score/bob")
    until_it_hears_news(everything, alice)
    until_it_hears_news(of_bob, bob)
    bob.types("three")
    bob.shows("Points are a number, such as 3.")
    bob.types("3")
    bob.shows(r"You have 3 points\.")
    everything.shows("score/bob: 3")
    everything.shows("leader: bob")
    alice.types("4")
    alice.shows(r"You have 4 points\.")
    everything.shows("score/alice: 4")
    everything.shows("leader: alice", after=everything.lines().index("leader: bob"))
    bob.types("2")
    bob.shows(r"You have 5 points\.")
    of_bob.shows("score/bob: 5")
    assert set(of_bob.lines()) == {"score/bob: 0", "score/bob: 3", "score/bob: 5"}
    for program in (alice, of_bob, board):
        program.interrupt()
        program.ends()
        assert program.errors() == ""


def test_a_board_that_is_started_anew_is_found_again(machine: Machine) -> None:
    player, watcher = run(machine, "scoreboard.py", "play", "alice"), run(machine, "scoreboard.py", "watch")
    for points, total in ("1000000", r"\d+000000"), ("1", r"\d{1,6}"):
        board = run(machine, "scoreboard.py", "board")
        board.shows("The board is open.")

        def heard(points: str = points, total: str = total) -> bool:
            played = len(player.lines())
            player.types(points)
            player.shows(r"You have \d+ points\.", after=played)
            return any(re.fullmatch(f"score/alice: {total}", line) for line in watcher.lines())

        wait_until(heard, "the watcher's news of this board")
        board.kill()
        wait_for_adverts(machine)
    player.ends_its_input()
    player.ends()
