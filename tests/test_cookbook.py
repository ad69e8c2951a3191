"""The programs of NetworkZero's documentation, with only their import changed, and only what stops the document's own mended.

What needs two or three of them runs as so many processes. Those that never end are ended when they have shown what they
should; those that end after one line would take their advert along, so they run as if typed into Python's prompt (-i).
"""

from __future__ import annotations

import ast
from pathlib import Path

import zmq

from tests.cookbook.running import Running
from tests.machines import DEADLINE_S, Machine, wait_until
from tests.namespaces import Network

COOKBOOK = Path(__file__).parent / "cookbook"
ADDRESS = r"127\.0\.0\.1:\d+"


def run(machine: Machine, name: str, *, interactive: bool = False, by_hand: bool = False, **env: str) -> Running:
    path = COOKBOOK / f"{name}.py"
    return Running(machine, path, interactive=interactive, by_hand=by_hand, PYTHONUNBUFFERED="1", **env)


def wait_for_adverts(machine: Machine, *names: str) -> None:
    """Until these are there, and no others."""
    wait_until(lambda: sorted(names) == machine.names(), f"the adverts {names}")


def test_every_program_of_the_cookbook_is_run_here() -> None:
    texts = {node.value for node in ast.walk(ast.parse(Path(__file__).read_text())) if isinstance(node, ast.Constant)}
    assert {path.stem for path in COOKBOOK.glob("*.py")} - {"running"} <= texts


def test_a_service_is_advertised_at_an_address_that_is_picked(machine: Machine) -> None:
    program = run(machine, "advertise_a_service", interactive=True)
    address = program.shows(f"Service is at ({ADDRESS})")[1]
    assert machine.call("discover", "myservice1") == address
    program.ends_its_input()
    program.ends()
    wait_for_adverts(machine)


def test_a_service_is_advertised_with_a_specific_address(machine: Machine) -> None:
    program = run(machine, "advertise_a_service_with_a_specific_address", interactive=True)
    address = program.shows(r"Service is at (192\.0\.2\.1:\d+)")[1]
    assert machine.call("discover", "myservice2") == address


def test_a_service_is_advertised_with_a_specific_port(machine: Machine) -> None:
    program = run(machine, "advertise_a_service_with_a_specific_port", interactive=True)
    program.shows(r"Service is at address 127\.0\.0\.1:1234")
    assert machine.call("discover", "myservice3") == "127.0.0.1:1234"


def test_a_service_is_advertised_with_a_wildcard_address(machine: Machine) -> None:
    program = run(machine, "advertise_a_service_with_a_wildcard_address", interactive=True)
    address = program.shows(f"Service is at ({ADDRESS})")[1]
    assert machine.call("discover", "myservice4") == address


def test_a_service_is_discovered_that_is_advertised_after_the_question(machine: Machine) -> None:
    machine.names()  # starts the beacon
    asking = run(machine, "discover_a_service_b")
    wait_until(lambda: machine.status()["programs"] >= 2, "the question")  # status is one itself
    run(machine, "discover_a_service_a", interactive=True)
    address = asking.shows(f"myservice is at ({ADDRESS})")[1]
    asking.ends()
    assert machine.call("discover", "myservice5") == address


def test_all_services_are_discovered(machine: Machine) -> None:
    run(machine, "discover_all_services_a", interactive=True)
    run(machine, "discover_all_services_b", interactive=True)
    wait_for_adverts(machine, "myservice7", "myservice8")
    c = run(machine, "discover_all_services_c")
    c.ends()
    found = ast.literal_eval(c.shows("Services: (.*)")[1])
    assert found == [tuple(service) for service in machine.call("discover_all")]
    assert [name for name, _ in found] == ["myservice7", "myservice8"]


def test_a_message_is_sent_and_its_reply_received(machine: Machine) -> None:
    b = run(machine, "send_a_message_b")
    a = run(machine, "send_a_message_a")
    b.ends()
    assert b.lines() == ["Reply:  Received: This is a message"]
    a.ends()
    assert a.lines() == ["Message received:  This is a message"]


def test_a_message_is_sent_without_expecting_a_reply(machine: Machine) -> None:
    b = run(machine, "send_a_message_without_reply_b")
    a = run(machine, "send_a_message_without_reply_a")
    b.ends()
    a.ends()
    assert a.lines() == ["Message received:  This is a command"]


def test_news_reach_everybody_who_listens(machine: Machine) -> None:
    listeners = [run(machine, "send_news_b") for _ in range(2)]
    run(machine, "send_news_a")
    for listener in listeners:
        assert 15 <= float(listener.shows(r"Temperature is: (.*)")[1]) < 20
        listener.shows(r"Temperature is: .*", after=1)


def test_news_on_a_topic_reach_those_who_listen_to_it(machine: Machine) -> None:
    b, c = run(machine, "send_news_on_topic_b"), run(machine, "send_news_on_topic_c")
    run(machine, "send_news_on_topic_a")
    for _ in range(2):
        b.shows(r"Temperature is: \d+\.\d+", after=1)
        c.shows(r"Humidity is: \d+", after=1)
    assert all(15 <= float(line.removeprefix("Temperature is: ")) < 20 for line in b.lines())
    assert all(line.removeprefix("Humidity is: ").isdigit() for line in c.lines())


def test_a_group_of_services_is_discovered(machine: Machine) -> None:
    run(machine, "discover_group_a", interactive=True)
    run(machine, "discover_group_b", interactive=True)
    wait_for_adverts(machine, "chat/alice", "chat/bob")
    c = run(machine, "discover_group_c")
    c.ends()
    assert [ast.literal_eval(line) for line in c.lines()] == [dict(machine.call("discover_all"))]


def test_a_group_with_another_separator_is_discovered(machine: Machine) -> None:
    program = run(machine, "discover_group_colon")
    program.ends()
    assert list(ast.literal_eval(program.shows("{.*}")[0])) == ["chat:alice", "chat:bob", "chat:doug"]


def test_nodes_that_come_and_go_are_dynamically_discovered(machine: Machine) -> None:
    a = run(machine, "dynamically_discover_nodes_a")
    b = run(machine, "dynamically_discover_nodes_b")
    wait_for_adverts(machine, "cluster/A", "cluster/B")
    master = run(machine, "dynamically_discover_nodes_master", by_hand=True)
    assert set(master.shows("Nodes: (.*)")[1].split(", ")) == {"cluster/A", "cluster/B"}
    c = run(machine, "dynamically_discover_nodes_c", by_hand=True)
    c.shows("sleeps 3 s")
    c.wakes()
    a.ends(status=1)
    assert a.errors().endswith("RuntimeError\n")
    wait_for_adverts(machine, "cluster/B", "cluster/C", "cluster/master")
    master.shows("sleeps 5 s")
    master.wakes()
    answer_what_the_master_says_to_itself(machine)
    for program in (b, c, master):
        program.ends()
    assert master.lines()[2] == "cluster/A has left the cluster"
    assert sorted(master.lines()[3:]) == [f"cluster/{name} has joined the cluster" for name in ("C", "master")]


def answer_what_the_master_says_to_itself(machine: Machine) -> None:
    """The document's master sends to all of the cluster, itself too, and would wait for its own answer: somebody gives it."""
    with zmq.Context() as context, context.socket(zmq.REP) as stand_in:
        stand_in.bind("tcp://" + machine.call("discover", "cluster/master"))
        assert stand_in.poll(DEADLINE_S * 1000), "the master has sent nothing to itself"
        assert stand_in.recv() == b'"STOP"'
        stand_in.send(b"null")


def test_news_of_several_sources_are_heard(machine: Machine) -> None:
    sensors = [run(machine, "news_from_multiple_sources_abcd") for _ in range(4)]
    names = [sensor.shows(rf"Sending from (movement/\w+) -> {ADDRESS}")[1] for sensor in sensors]
    wait_for_adverts(machine, *names)
    listener = run(machine, "news_from_multiple_sources_e")
    for name in names:
        listener.shows(f"Movement from {name}!!!")


def test_data_is_sent(machine: Machine, place: Path) -> None:
    (place / "gallery").mkdir()
    (place / "picture.png").write_bytes(bytes(range(256)) * 1000)
    a = run(machine, "sending_data_a", TMPDIR=str(place / "gallery"))
    a.shows(f"Gallery: {ADDRESS}")
    b = run(machine, "sending_data_b")
    b.types(str(place / "picture.png"))
    b.ends()
    written = a.shows("Wrote (.*)")[1]
    assert written == str(place / "gallery" / "picture.png")
    assert Path(written).read_bytes() == (place / "picture.png").read_bytes()


def test_messages_are_polled(machine: Machine) -> None:
    a = run(machine, "polling_messages_a", by_hand=True)
    a.shows(r"Doing other useful things \.\.\.")
    b = run(machine, "polling_messages_b", by_hand=True)
    b.shows("sleeps 3 s")
    b.wakes()

    def received() -> bool:
        if a.lines()[-1] == "sleeps 1 s" and a.process.poll() is None:
            done = len(a.lines())
            a.wakes()
            wait_until(lambda: len(a.lines()) > done, "the next turn")
        return "Received: This is a message" in a.lines()

    wait_until(received, "the message")
    b.ends()
    assert b.lines()[-1] == "Reply:  Received: This is a message"
    a.ends()


def test_the_first_page_says_hello(machine: Machine) -> None:
    run(machine, "hello_a")
    b = run(machine, "hello_b")
    b.ends()
    assert b.lines() == ["Hello World!", "Hello Tim"]


def test_a_message_is_awaited_at_an_address_that_was_given(network: Network) -> None:
    host = network.host()  # a port of its own
    program = run(host, "usage_address")
    sent = host.python(
        "import nwdisco as nw0\n"
        "address = nw0.discover('myservice')\n"
        "try:\n"
        "    nw0.send_message_to(address, 'hello')\n"
        "except nw0.ServiceGoneError:\n"
        "    print('received, and not replied to:', address)\n"
    )
    assert sent.stdout == "received, and not replied to: 127.0.0.1:1234\n", sent.stderr
    program.ends()


def test_anagrams_are_solved(machine: Machine, place: Path) -> None:
    (place / "words.txt").write_text("apple\nlisten\nstone\n")
    server = run(machine, "anagram_server")
    server.shows(r"Waiting for a word\.\.\.")
    client = run(machine, "anagram_client")
    client.types("Silent")
    client.shows("(Enter anagram: )?listen")
    client.types("zzz")
    client.shows("(Enter anagram: )?Nothing found")
    assert server.lines()[1:5] == ["Looking for silent", "Found listen", "Waiting for a word...", "Looking for zzz"]
