"""docs/etcd.md says what the link does: its keys and values, its figures, its settings; and its sessions go as it shows them."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from nwdisco import config
from nwdisco.beacon.links import etcd as link
from nwdisco.core import etcd
from nwdisco.core.advert import Advert
from nwdisco.etcd import connection
from nwdisco.etcd.settings import EtcdSettings
from nwdisco.settings import SETTINGS
from tests.benchmarks.etcd import ROWS, RUNS
from tests.documents import Document
from tests.etcd import Etcd, missing_etcd
from tests.machines import DEADLINE_S, Machine, wait_until
from tests.namespaces import Network
from tests.ports import free_port
from tests.two_lans import Lans

DOCUMENT = Document("etcd.md")
PLACE = "/tmp/lans"
ETCD_IP = "192.168.1.10"
"""The document's; a test's are others."""


def only(kind: str) -> str:
    (block,) = DOCUMENT.of_kind(kind)
    return block.text


def rows(header: str) -> dict[str, str]:
    return {name.strip("` "): said for names, said in DOCUMENT.table_rows(header) for name in names.split(",")}


def test_links_lead_somewhere() -> None:
    assert DOCUMENT.broken_links() == set()


# --- keys and values ---


def test_the_key_and_the_value_are_byte_for_byte_the_document_s() -> None:
    key, value = only("key").encode(), only("value").encode()
    assert key.startswith(etcd.prefix_of(""))
    node, name = etcd.decode_key(key.removeprefix(etcd.prefix_of("")))
    said = etcd.decode(value)
    advert = Advert(name, said.address, said.properties, 5.0, node, "program", -said.age_s, said.rank)
    exports = etcd.Exports(node, ())
    assert list(exports.own_change(name, advert, 0.0)) == [(key, value)]


def test_the_plain_keys_are_the_document_s() -> None:
    lease = etcd.LEASE_MARK << 32 | 0x12345677
    exports = etcd.Exports("nodeAAAA", ("hello",))
    exports.lease = lease
    keys = set()
    for name in ("hello/a", "hello/b", "hello/c"):
        advert = Advert(name, "192.168.1.7:9100", {}, 5.0, "nodeAAAA", "program", 0.0)
        keys |= {key.decode() for key, value in exports.own_change(name, advert, 0.0) if value == b"192.168.1.7:9100"}
    assert keys == {f"hello/{lease}", f"hello/{lease}-2", f"hello/{lease}-3"}
    ours = re.findall(r"`hello/(\d{19})", DOCUMENT.text)
    assert [etcd.is_ours(int(each)) for each in ours] == [False, True, True]
    assert f"`{etcd.LEASE_MARK:x}`" in DOCUMENT.text
    assert f"Its `node` is `{etcd.PLAIN_NODE}`" in DOCUMENT.text


def test_the_prefix_of_a_room_is_the_document_s() -> None:
    assert f"room `3b` stand under `{etcd.prefix_of('3b').decode()}`" in DOCUMENT.text


def test_every_member_of_a_value_is_documented() -> None:
    fields = {field.encode_name: field.default for field in msgspec.structs.fields(etcd.Value)}
    shown = {"never": msgspec.NODEFAULT, "empty": {}, "0": 0}
    assert {name: shown[absent] for name, absent in DOCUMENT.table_rows("member")} == {
        name: {} if name == "properties" else default for name, default in fields.items()
    }


# --- tables ---


def test_every_figure_is_the_one_in_the_code_and_none_is_left_out() -> None:
    documented = {name: float(value) for name, value in DOCUMENT.table_rows("constant")}
    assert documented == {name: value for name, value in vars(config).items() if "ETCD" in name}
    assert f"more than {config.MAX_ETCD_VALUE} bytes" in DOCUMENT.text
    assert f"After {config.ETCD_LEASE_S} s without an answer" in DOCUMENT.text
    assert f"in the plain way, after {config.ETCD_PLAIN_LEASE_S:.0f} s" in DOCUMENT.text
    assert f"a call waits {link.CALL_S:.0f} s" in DOCUMENT.text
    assert f"etcd is away for {link.CALL_S:.0f} s to {config.ETCD_LEASE_S} s" in DOCUMENT.text
    assert ".".join(map(str, connection.OLDEST)) + " or later" in DOCUMENT.text


def test_every_setting_is_documented() -> None:
    class Asked(dict[str, str]):
        def get(self, name: str, default: str = "") -> str:  # type: ignore[override]
            self[name] = default
            return default

    asked = Asked()
    EtcdSettings.from_environment(environment=asked)
    of_the_beacon = {variable for _, variable, _, _ in SETTINGS if "ETCD" in variable}
    assert set(rows("setting")) == set(asked) | of_the_beacon


def test_all_that_the_status_shows_is_documented(machine: Machine) -> None:
    machine.env["NWDISCO_ETCD"] = "127.0.0.1:1"
    machine.program().call("discover_all")
    assert set(rows("in the status")) == set(machine.status()["etcd"])


def test_all_counters_are_documented() -> None:
    source = Path(etcd.__file__).read_text() + Path(link.__file__).read_text()
    counted = re.findall(r'counters\["(\w+)"\]|Refused\("(\w+)"', source)
    assert set(rows("counter")) == {one or other for one, other in counted}


def test_the_table_of_times_is_the_benchmark_s() -> None:
    assert [what for what, _ in DOCUMENT.table_rows("what is timed")] == list(ROWS)
    assert f"medians of {RUNS}" in DOCUMENT.text


# --- sessions ---


def test_the_user_that_the_page_makes_is_enough_for_beacons(place: Path) -> None:
    if reason := missing_etcd():
        pytest.skip(reason)
    server = Etcd()
    machines: list[Machine] = []
    try:
        server.start()
        for command in only("access").splitlines():
            arguments = command.split()[1:]
            if arguments[:2] == ["user", "add"]:
                arguments[2] += ":secret"  # in place of the question
            server.ctl(*arguments)
        for lan in ("east", "west"):
            machine = Machine(
                place / lan,
                NWDISCO_INTERFACES="lo",
                NWDISCO_PORT=str(free_port()),
                NWDISCO_ETCD=server.address,
                NWDISCO_ETCD_USER="beacon",
                NWDISCO_ETCD_PASSWORD="secret",
            )
            machines.append(machine)
        east, west = (machine.program() for machine in machines)
        east.call("advertise", "printer/a", ":1")
        assert west.call("discover", "printer/a", 20) == "127.0.0.1:1"
        east.call("unadvertise", "printer/a")
        wait_until(lambda: west.call("discover", "printer/a", 0) is None, "gone")
    finally:
        for machine in machines:
            machine.close()
        server.close()


def environment(**more: str) -> dict[str, str]:
    """Where `nwdisco` is the one of this Python."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("NWDISCO_")}
    return {**kept, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", **more}


def shown(output: str) -> list[str]:
    """What differs from one run to the next, as one."""
    once = re.sub(r'"age_s":[0-9.]+', '"age_s":0', output)
    node = re.sub(r"adverts/[\w-]{8}/", "adverts/NODEnode/", once)
    return re.sub(r"\b\d{19}\b", "LEASE", node).splitlines()


def test_the_session_on_one_machine_shows_what_the_page_says(network: Network, place: Path) -> None:
    if reason := missing_etcd():
        pytest.skip(reason)
    alone = network.host(-1)
    session = only("sh").replace(PLACE, str(place / "lans"))
    done = subprocess.run(
        [*alone.prefix, "sh", "-c", session], env=environment(), capture_output=True, text=True, timeout=60
    )
    assert shown(done.stdout) == shown(only("output")), done.stderr


def test_the_commands_for_three_machines_do_what_the_page_says(network: Network, place: Path) -> None:
    if reason := missing_etcd():
        pytest.skip(reason)
    lans = Lans(network)
    hosts = {"etcd": lans.router, "advertise": lans.host(1, is_bare=True), "discover": lans.host(2, is_bare=True)}
    commands = []
    try:
        for kind, host in hosts.items():
            commands.append(
                subprocess.Popen(
                    [*host.prefix, "sh", "-c", only(kind).replace(ETCD_IP, lans.router.ip(0))],
                    env=environment(NWDISCO_RUNTIME_DIR=str(host.runtime_dir)),
                    cwd=place,  # etcd keeps its data there
                    stdout=subprocess.PIPE if kind == "discover" else subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                    text=True,
                )
            )
        found = commands[-1].communicate(timeout=3 * DEADLINE_S)[0]
        assert found == f"{hosts['advertise'].ip(1)}:9100\n"
    finally:
        for command in commands:
            command.kill()  # what it started ends with its host
            command.wait(DEADLINE_S)
            if command.stdout is not None:
                command.stdout.close()
        lans.close()
