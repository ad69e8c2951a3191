"""Discovery on the local network, with real programs and a real beacon: nothing is set up."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from nwdisco.errors import AdvertError, RegistryKeyError
from nwdisco.results import Service
from nwdisco.services import LanSource
from tests.machines import DEADLINE_S, Machine, wait_until

EXAMPLES = Path(__file__).parent.parent / "examples"

DESK = """
import json, logging, sys, threading, os
import nwdisco as nw0
from nwdisco.services import Discovery, LanSource
logging.basicConfig(stream=sys.stderr)

discovery = Discovery()
registrations, watches, pools = {}, {}, {}

def shown(instance):
    return [instance.id, dict(instance.properties)]

def register(service, **options):
    registration = discovery.register(service, **options)
    registrations[registration.instance.id] = registration
    return shown(registration.instance)

def update(id, properties):
    registrations[id].update(properties)
    return shown(registrations[id].instance)

def unregister(id):
    registrations[id].unregister()

def watch(service):
    watches[service] = discovery.watch(service)

def event(service, wait_s=20):
    event = watches[service].next(wait_s)
    return event and [event.kind, *shown(event.instance)]

def pool(service):
    pools[service] = discovery.pool(service)

def ids(service):
    return sorted(instance.id for instance in pools[service].instances())

def locate(service, *args, **options):
    return shown(discovery.locate(service, *args, **options))

def instances(service):
    return [shown(instance) for instance in discovery.instances(service)]

def running():
    return [len(os.listdir("/proc/self/fd")), sorted(t.name for t in threading.enumerate() if "follows" in t.name)]

for line in sys.stdin:
    verb, args, options = json.loads(line)
    call = globals().get(verb) or getattr(discovery, verb)
    try:
        answer = {"value": call(*args, **options)}
    except Exception as error:
        answer = {"error": f"{type(error).__name__}: {error}"}
    print(json.dumps(answer), flush=True)
"""


class Desk:
    """A real program with a Discovery, that calls what it is told."""

    def __init__(self, machine: Machine) -> None:
        self.process = subprocess.Popen(
            [*machine.prefix, sys.executable, "-c", DESK],
            env=machine.env,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        machine.processes.append(self.process)

    def begin(self, verb: str, *args: Any, **options: Any) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps([verb, args, options]) + "\n")
        self.process.stdin.flush()

    def end(self) -> Any:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line, self.process.communicate()[1]
        answer = json.loads(line)
        assert "error" not in answer, answer["error"]
        return answer["value"]

    def call(self, verb: str, *args: Any, **options: Any) -> Any:
        self.begin(verb, *args, **options)
        return self.end()


@pytest.fixture
def desk(machine: Machine) -> Callable[[], Desk]:
    return lambda: Desk(machine)


def place(port: int, **more: str) -> dict[str, str]:
    return {"hostname": "127.0.0.1", "port": str(port), **more}


def test_who_advertises_is_found_with_nothing_to_set_up(machine: Machine, desk: Callable[[], Desk]) -> None:
    machine.program().call("advertise", "printer/a1", 8080, properties={"dpi": "600"})
    program = desk()
    assert program.call("locate", "printer") == ["a1", place(8080, dpi="600")]
    assert program.call("instances", "printer") == [["a1", place(8080, dpi="600")]]
    assert program.call("services") == ["printer"]
    assert program.call("clusters") == ["lan"]


def test_a_program_that_is_killed_leaves_the_pool(machine: Machine, desk: Callable[[], Desk]) -> None:
    one, other = machine.program(), machine.program()
    one.call("advertise", "printer/a1", 8080)
    other.call("advertise", "printer/a2", 8081)
    program = desk()
    program.call("pool", "printer")
    assert program.call("ids", "printer") == ["a1", "a2"]
    one.kill(signal.SIGKILL)
    wait_until(lambda: program.call("ids", "printer") == ["a2"], "a1 out of the pool")
    assert {program.call("locate", "printer")[0] for _ in range(3)} == {"a2"}


def test_locate_waits_until_somebody_advertises(machine: Machine, desk: Callable[[], Desk]) -> None:
    program = desk()
    program.call("pool", "printer")
    program.begin("locate", "printer", wait_s=30)
    machine.program().call("advertise", "printer/late", 8080)
    assert program.end() == ["late", place(8080)]


def test_what_is_registered_here_is_found_by_the_plain_verbs(machine: Machine, desk: Callable[[], Desk]) -> None:
    program = desk()
    id, properties = program.call("register", "printer", properties={"dpi": "600"})
    address = f"{properties['hostname']}:{properties['port']}"
    assert machine.call("discover_group", "printer") == [[f"printer/{id}", address]]
    program.call("register", "printer", address="127.0.0.1:8080", id="mine")
    assert machine.call("discover", "printer/mine") == "127.0.0.1:8080"
    program.call("unregister", id)
    assert machine.names() == ["printer/mine"]
    program.call("close")
    assert machine.names() == []


def test_an_update_is_seen_at_once_and_keeps_the_address(desk: Callable[[], Desk]) -> None:
    program, watcher = desk(), desk()
    id, properties = program.call("register", "printer", properties={"dpi": "600"})
    watcher.call("watch", "printer")
    assert watcher.call("event", "printer") == ["joined", id, properties]
    after = {"hostname": properties["hostname"], "port": properties["port"], "health": "down"}
    assert program.call("update", id, {"health": "down"}) == [id, after]
    assert watcher.call("event", "printer") == ["changed", id, after]
    program.process.kill()
    assert watcher.call("event", "printer") == ["left", id, after]


TAKES_OVER = """
from nwdisco.services import Discovery

one, other = Discovery(), Discovery()

def register(discovery, port):
    return discovery.register("printer", id="a1", address=f"127.0.0.1:{port}")

def show(*registrations):
    there = [instance.address for instance in one.instances("printer")]
    print(there, [registration.has_ended for registration in registrations])

first, second = register(one, 9100), register(one, 9200)
first.unregister()
show(first, second)
third = register(other, 9300)
one.close()
one = Discovery()
show(second, third)
fourth = register(one, 9400)
third.update({"dpi": "600"})
fourth.unregister()
show(third, fourth)
third.unregister()
show(third)
"""


def test_the_end_of_an_old_registration_leaves_the_one_that_took_its_id_over(machine: Machine) -> None:
    done = machine.python(TAKES_OVER)
    assert done.stderr == ""
    assert done.stdout.splitlines() == [
        "['127.0.0.1:9200'] [True, False]",
        "['127.0.0.1:9300'] [True, False]",
        "['127.0.0.1:9300'] [False, True]",
        "[] [True]",
    ]


REGISTERS_IN_A_CHILD = """
import os
from nwdisco.services import Discovery, lan

with Discovery() as discovery:
    discovery.register("printer", id="parent", address="127.0.0.1:9100")
    with lan._adverts._lock:  # as of another thread, which registers meanwhile
        pid = os.fork()
        if pid == 0:
            with Discovery() as own:
                own.register("printer", id="child", address="127.0.0.1:9200")
                print([instance.id for instance in own.instances("printer")], flush=True)
            os._exit(0)
    os.waitpid(pid, 0)
    print([instance.id for instance in discovery.instances("printer")])
"""


def test_a_child_of_a_fork_registers_for_itself_whatever_its_parent_was_at(machine: Machine) -> None:
    done = machine.python(REGISTERS_IN_A_CHILD)
    assert done.stdout.splitlines() == ["['child', 'parent']", "['parent']"]


def test_names_that_are_no_instances_are_left_alone(machine: Machine, desk: Callable[[], Desk]) -> None:
    others = machine.program()
    for name in ("printer", "printer/a/b", "/a", "printer/"):
        others.call("advertise", name, 8080)
    program = desk()
    program.call("watch", "printer")
    others.call("advertise", "printer/c/d", 8080)
    others.call("advertise", "printer/a1", 8081)
    assert program.call("event", "printer") == ["joined", "a1", place(8081)]
    assert program.call("services") == ["printer"]
    assert [id for id, _ in program.call("instances", "printer")] == ["a1"]


def test_a_beacon_that_is_killed_is_noticed_by_nobody_who_follows(machine: Machine, desk: Callable[[], Desk]) -> None:
    advertising = machine.program()
    advertising.call("advertise", "printer/a1", 8080)
    program = desk()
    program.call("watch", "printer")
    assert program.call("event", "printer") == ["joined", "a1", place(8080)]
    os.kill(machine.beacon_pid(), signal.SIGKILL)
    wait_until(lambda: machine.names() == ["printer/a1"], "a1 put back")
    advertising.call("advertise", "printer/a2", 8081)
    heard: list[list[Any]] = []
    while not heard or heard[-1][:2] != ["joined", "a2"]:
        heard.append(program.call("event", "printer"))
        assert heard[-1] is not None, heard
    # a1 may leave for the moment in which no beacon knew of it, and is back
    assert [event[:2] for event in heard if event[1] == "a1"] in ([], [["left", "a1"], ["joined", "a1"]])


def test_while_no_beacon_can_be_had_it_warns_once_and_then_makes_good_what_was_missed(
    machine: Machine, desk: Callable[[], Desk]
) -> None:
    machine.program().call("advertise", "printer/a1", 8080)
    program = desk()
    program.call("pool", "printer")
    pid, aside = machine.beacon_pid(), machine.runtime_dir.with_name("aside")
    machine.runtime_dir.rename(aside)
    machine.runtime_dir.write_text("a file where the beacon's directory was")
    os.kill(pid, signal.SIGKILL)
    assert program.process.stderr is not None
    assert any("printer cannot be followed for the moment" in line for line in program.process.stderr)
    machine.runtime_dir.unlink()
    aside.rename(machine.runtime_dir)
    machine.program().call("advertise", "printer/a2", 8081)
    wait_until(lambda: program.call("ids", "printer") == ["a1", "a2"], "both in the pool")


def test_closed_it_leaves_no_thread_and_no_connection(machine: Machine, desk: Callable[[], Desk]) -> None:
    machine.program().call("advertise", "printer/a1", 8080)
    program = desk()
    program.call("instances", "printer")
    before = program.call("running")
    for service in ("printer", "lamp"):
        program.call("pool", service)
        program.call("watch", service)
    assert len(program.call("running")[1]) == 4
    program.call("close")
    wait_until(lambda: program.call("running") == before, "threads and connections gone")


def test_the_example_asks_one_printer_after_the_other(machine: Machine) -> None:
    def start(*command: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, str(EXAMPLES / command[0]), *command[1:]],
            env=machine.env,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        machine.processes.append(process)
        return process

    asking = start("located.py", "0.05")
    printers = [start("printer.py", name) for name in ("a", "b")]
    assert asking.stdout is not None
    heard = ""
    while not ("printer/a" in heard and "printer/b" in heard):
        line = asking.stdout.readline()
        assert line.startswith("hello from printer/"), line
        heard += line
    printers[0].kill()
    while not heard.endswith("hello from printer/b\n" * 2):
        line = asking.stdout.readline()
        assert line, heard
        heard += line
    asking.send_signal(signal.SIGINT)
    assert asking.wait(DEADLINE_S) == 0
    assert asking.stdout.read().endswith("bye\n")


# --- how adverts are read, without a network --------------------------------------------------------------


def read(name: str, address: str, **properties: str) -> dict[str, str] | None:
    instance = LanSource().instance(Service.of([name, address, properties, "node", 0.0]))
    return None if instance is None else dict(instance.properties)


def test_its_address_goes_before_properties_of_that_name() -> None:
    assert read("printer/a1", "10.0.0.1:80", port="81", hostname="x", dpi="600") == {
        "hostname": "10.0.0.1",
        "port": "80",
        "dpi": "600",
    }


@pytest.mark.parametrize("address", ["123456@127.0.0.1:6379", "redis", "10.0.0.1:", ":80", "10.0.0.1:99999"])
def test_an_address_that_is_no_host_and_port_is_kept_as_it_is(address: str) -> None:
    assert read("printer/a1", address) == {"address": address}


def test_what_no_instance_can_have_is_left_out_with_one_warning(caplog: pytest.LogCaptureFixture) -> None:
    source = LanSource()
    for _ in range(3):
        advert = Service.of(["printer/a1", "10.0.0.1:80", {"a/b": "c"}, "node", 0.0])
        assert source.instance(advert) is None
    assert len(caplog.records) == 1
    assert "'printer/a1' is left out" in caplog.text


def test_the_local_network_is_one_cluster_and_services_have_no_slash() -> None:
    source = LanSource()
    calls: list[Callable[[str, str], object]] = [
        source.instances,
        source.register,
        lambda cluster, service: source.follow(cluster, service, print),
    ]
    for call in calls:
        with pytest.raises(AdvertError, match="one cluster, 'lan', not 'shop'"):
            call("shop", "printer")
        with pytest.raises(RegistryKeyError, match="slash"):
            call("lan", "a/b")
