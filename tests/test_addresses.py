"""Addresses as they are given to `advertise`, and which of this machine's is picked when none is given."""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import netifaces
import pytest

from nwdisco import addresses as address
from nwdisco.errors import AddressError, InvalidAddressError, NoAddressFoundError

Names = Callable[[dict[str, str]], None]


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> Names:
    """Sets what host names resolve to, for no test asks a real name server."""

    def known(table: dict[str, str]) -> None:
        def look_up(host: str) -> str:
            if host not in table:
                raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
            return table[host]

        monkeypatch.setattr(socket, "gethostbyname", look_up)

    known({})
    return known


@pytest.fixture
def own_addresses(monkeypatch: pytest.MonkeyPatch) -> None:
    """This machine has three addresses, the most useful first."""
    monkeypatch.setattr(address, "own_addresses", lambda: ["192.168.1.7", "10.0.0.7", "127.0.0.1"])


def port_of(text: str) -> int:
    return int(text.rpartition(":")[2])


# --- the forms ---


@pytest.mark.parametrize("nothing", [None, "", "  "])
def test_nothing_is_a_free_port_at_an_address_to_be_picked(nothing: str | None) -> None:
    given = address.complete(nothing)
    assert given.startswith(":")
    with socket.socket() as end:
        end.bind(("", port_of(given)))


@pytest.mark.parametrize("port", [8080, "8080", ":8080", " 8080 ", "08080", "0.0.0.0:8080"])
def test_a_port_alone_leaves_the_address_to_be_picked(port: str | int) -> None:
    assert address.complete(port) == ":8080"


@pytest.mark.parametrize("port", [1, 65535])
def test_the_first_and_the_last_port_are_ports(port: int) -> None:
    assert address.complete(port) == f":{port}"


def test_an_ip_and_a_port_are_taken_as_they_are() -> None:
    assert address.complete("192.168.1.7:8080") == "192.168.1.7:8080"
    assert address.complete("127.0.0.1:1") == "127.0.0.1:1"


def test_an_ip_alone_gets_a_free_port() -> None:
    ip, _, port = address.complete("10.1.2.3").partition(":")
    assert ip == "10.1.2.3"
    assert 1 <= int(port) <= 65535


def test_a_host_name_is_looked_up(names: Names) -> None:
    names({"nas.example": "192.168.1.9", "localhost": "127.0.0.1"})
    assert address.complete("nas.example:8080") == "192.168.1.9:8080"
    assert address.complete("nas.example").startswith("192.168.1.9:")
    assert address.complete("localhost:80") == "127.0.0.1:80"


def test_this_machines_own_name_that_resolves_to_loopback_leaves_the_address_to_be_picked(names: Names) -> None:
    names({"raspberrypi": "127.0.1.1"})
    assert address.complete("raspberrypi:8080") == ":8080"


@pytest.mark.usefixtures("own_addresses")
@pytest.mark.parametrize(
    ("pattern", "ip"),
    [
        ("192.168.*", "192.168.1.7"),
        ("192.168.*.*", "192.168.1.7"),
        ("10.*", "10.0.0.7"),
        ("*.0.0.7", "10.0.0.7"),
        ("127.*", "127.0.0.1"),
        ("*", "192.168.1.7"),
    ],
)
def test_wildcards_choose_among_this_machines_addresses(pattern: str, ip: str) -> None:
    assert address.complete(f"{pattern}:8080") == f"{ip}:8080"
    assert address.complete(pattern).startswith(f"{ip}:")


# --- what is no address ---


@pytest.mark.usefixtures("names")
@pytest.mark.parametrize(
    "given",
    [
        0,
        -1,
        65536,
        10**9,
        10**4000,
        -(10**4000),
        "0",
        "65536",
        "-1",
        "--5",
        ":0",
        ":-0",
        "x:0",
        "1.2.3.4:65536",
        "9" * 5000,
    ],
    ids=lambda given: repr(given)[:20] if not isinstance(given, int) or abs(given) < 10**9 else "huge",
)
def test_a_port_out_of_range_is_refused_with_the_range(given: str | int) -> None:
    with pytest.raises(AddressError, match="from 1 to 65535") as refused:
        address.complete(given)
    assert len(str(refused.value)) < 200


@pytest.mark.usefixtures("names")
@pytest.mark.parametrize("given", ["a:b", "1.2.3.4:http", ":1_000", ":+80", ":8 0", ":²", "²", ":٣", "1.2.3.4:\n80"])
def test_a_port_that_is_no_number_is_refused_before_a_name_is_looked_up(given: str) -> None:
    with pytest.raises(AddressError, match="is no number"):
        address.complete(given)


@pytest.mark.usefixtures("names")
@pytest.mark.parametrize("given", ["x:", ":", "1.2.3.4:"])
def test_a_colon_without_a_port_is_refused(given: str) -> None:
    with pytest.raises(AddressError, match="no port"):
        address.complete(given)


@pytest.mark.parametrize("given", ["::1", "fe80::1", "[::1]:80", "2001:db8::7", "1:2:3", "1.2.3.4:80:90"])
def test_ipv6_is_refused_by_name(given: str) -> None:
    with pytest.raises(InvalidAddressError, match="IPv6"):
        address.complete(given)


@pytest.mark.parametrize(
    "given", ["256.1.1.1", "1.2.3", "1.2.3.4.5", "1.2.3.999:80", "²55.1.1.1", "1..2.3", "1.2.3.0004"]
)
def test_numbers_that_are_no_ipv4_address_are_refused(given: str) -> None:
    with pytest.raises(InvalidAddressError, match="is no IPv4 address"):
        address.complete(given)


@pytest.mark.usefixtures("names")
@pytest.mark.parametrize(
    "given", ["nobody.invalid", "nobody.invalid:80", "+80", "1_000", "x y", "-", "192.168.1.7x", "http//x", "é" * 5000]
)
def test_a_name_that_does_not_resolve_is_refused(given: str) -> None:
    with pytest.raises(InvalidAddressError, match="does not resolve") as refused:
        address.complete(given)
    assert len(str(refused.value)) < 300


@pytest.mark.parametrize("given", ["a" * 64 + ".example", "...", "\udc80"])
def test_a_name_that_no_name_server_could_know_is_refused(given: str) -> None:
    with pytest.raises(InvalidAddressError, match="does not resolve"):
        address.complete(given)


@pytest.mark.parametrize("given", ["a\0b", "a\nb", "a\x1b[2J:80", "a\x7f"])
def test_a_control_character_is_refused(given: str) -> None:
    with pytest.raises(InvalidAddressError, match="control character"):
        address.complete(given)


@pytest.mark.usefixtures("own_addresses")
@pytest.mark.parametrize("given", ["172.16.*", "192.168.2.*:80", "*.8"])
def test_wildcards_that_nothing_fits_are_refused_with_what_there_is(given: str) -> None:
    with pytest.raises(NoAddressFoundError, match=r"192\.168\.1\.7, 10\.0\.0\.7, 127\.0\.0\.1"):
        address.complete(given)


@pytest.mark.usefixtures("own_addresses")
@pytest.mark.parametrize("given", ["999.*", "19*.168.1.7", "nas*", "²*", "².*", "192.168.[12].*", "*" * 5000])
def test_wildcards_within_a_number_or_a_name_are_refused(given: str) -> None:
    with pytest.raises(InvalidAddressError, match="no pattern") as refused:
        address.complete(given)
    assert len(str(refused.value)) < 200


@pytest.mark.parametrize("given", [True, False, b"1.2.3.4:80", 80.0, ["1.2.3.4", 80], ("1.2.3.4", 80), {}, object()])
def test_what_is_neither_text_nor_a_port_is_refused_with_an_example(given: Any) -> None:
    with pytest.raises(InvalidAddressError, match=r"192\.168\.1\.7:8080"):
        address.complete(given)


# --- which address of this machine ---


def test_the_most_useful_address_is_picked() -> None:
    lo, docker, lan = ("lo", "127.0.0.1"), ("docker0", "192.168.99.1"), ("eth0", "10.0.0.7")
    wlan, second = ("wlan0", "192.168.1.7"), ("eth1", "192.168.0.9")
    ranked = [lan, second, wlan, docker, lo]  # towards the gateway, 192.168 and lower first, virtual, loopback
    for number in range(len(ranked)):
        assert address.pick(reversed(ranked[number:]), "eth0") == ranked[number][1]


def test_without_a_gateway_192_168_comes_first_and_numbers_count_as_numbers() -> None:
    assert address.pick([("a", "10.0.0.7"), ("b", "192.168.1.7")], None) == "192.168.1.7"
    assert address.pick([("a", "10.0.0.10"), ("b", "10.0.0.9")], None) == "10.0.0.9"


def test_a_virtual_interface_is_better_than_loopback_even_without_a_gateway() -> None:
    assert address.pick([("lo", "127.0.0.1"), ("tun0", "10.8.0.2")], None) == "10.8.0.2"


def test_without_any_address_it_is_loopback() -> None:
    assert address.pick([], "eth0") == "127.0.0.1"


def test_this_machines_addresses_come_from_its_interfaces_in_that_order(monkeypatch: pytest.MonkeyPatch) -> None:
    table: dict[str, list[dict[str, str]]] = {
        "lo": [{"addr": "127.0.0.1"}],
        "docker0": [{"addr": "172.17.0.1"}],
        "eth0": [{"addr": "10.0.0.7"}, {"addr": "10.0.0.8"}],
        "wlan0": [{"addr": "192.168.1.7"}],
        "tunl0": [{"peer": "10.9.9.9"}],
        "down0": [],
    }
    monkeypatch.setattr(netifaces, "interfaces", lambda: list(table))
    monkeypatch.setattr(netifaces, "ifaddresses", lambda name: {netifaces.AF_INET: table[name]} if table[name] else {})
    monkeypatch.setattr(netifaces, "gateways", lambda: {"default": {netifaces.AF_INET: ("10.0.0.1", "eth0")}})
    assert address.own_addresses() == ["10.0.0.7", "10.0.0.8", "192.168.1.7", "172.17.0.1", "127.0.0.1"]
    monkeypatch.setattr(netifaces, "gateways", dict)
    assert address.own_addresses() == ["192.168.1.7", "10.0.0.7", "10.0.0.8", "172.17.0.1", "127.0.0.1"]


def test_this_machine_has_a_loopback_address() -> None:
    assert "127.0.0.1" in address.own_addresses()


# --- free ports ---


def test_a_free_port_is_given_once() -> None:
    ports = [address.free_port() for _ in range(500)]
    assert len(set(ports)) == 500
    assert all(1024 <= port <= 65535 for port in ports)


def test_threads_never_get_the_same_free_port() -> None:
    with ThreadPoolExecutor(16) as threads:
        ports = list(threads.map(lambda _: address.free_port(), range(800)))
    assert len(set(ports)) == 800


def test_a_port_that_somebody_has_for_udp_is_not_free(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as busy:
        busy.bind(("", 0))
        taken = busy.getsockname()[1]
        offers = iter([taken, taken])
        bind = socket.socket.bind

        class Ends(socket.socket):
            """Asked for any TCP port, the system offers the taken one twice."""

            def bind(self, to: Any) -> None:
                bind(self, (to[0], next(offers, 0)) if self.type == socket.SOCK_STREAM and to[1] == 0 else to)

        monkeypatch.setattr(socket, "socket", Ends)
        assert address.free_port() != taken


def test_without_a_free_port_the_error_says_to_give_one(monkeypatch: pytest.MonkeyPatch) -> None:
    class NoneFree(socket.socket):
        def bind(self, to: Any) -> None:
            raise OSError(98, "Address already in use")

    monkeypatch.setattr(socket, "socket", NoneFree)
    with pytest.raises(NoAddressFoundError, match="give one yourself"):
        address.free_port()


def test_importing_addresses_takes_in_no_netifaces() -> None:
    """The beacon knows the interfaces; a program that is given a port needs none of that."""
    code = "import sys, nwdisco.addresses as a; a.complete(8080); sys.exit('netifaces' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], timeout=30).returncode == 0
