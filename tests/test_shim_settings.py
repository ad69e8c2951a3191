"""The shim's token and certificate as the settings bring them to a beacon that a user starts, or a program."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from nwdisco.core.secret import shim_token
from tests.machines import Failed, Machine, wait_until
from tests.namespaces import Network
from tests.shim import address_of, status_of
from tests.shim_door import TlsWire, ask_from, make_certificate, needs_openssl

SECRET = "blue whales sing at night"


def shim_address(machine: Machine) -> tuple[str, int]:
    wait_until(lambda: status_of(machine), "the beacon's start")
    status = status_of(machine)
    assert status is not None
    return address_of(status)


@needs_openssl
def test_a_beacon_with_a_certificate_speaks_tls(machine: Machine, place: Path) -> None:
    certificate = make_certificate(place)
    machine.env |= {"NWDISCO_SHIM": "127.0.0.1:0", "NWDISCO_SHIM_CERT": str(certificate.cert)}
    machine.env["NWDISCO_SHIM_KEY"] = str(certificate.key)
    machine.program().call("advertise", "lamp/a", "127.0.0.1:80")
    wire = TlsWire(shim_address(machine), certificate.trusting())
    assert wire.names() == ["lamp/a"]
    wire.end.close()


def test_a_certificate_that_is_not_there_is_an_error_that_names_it(machine: Machine) -> None:
    machine.env |= {"NWDISCO_SHIM": "127.0.0.1:0", "NWDISCO_SHIM_CERT": "/nowhere/shim.pem"}
    done = machine.command("beacon")
    assert done.returncode == 2
    assert "/nowhere/shim.pem" in done.stderr
    with pytest.raises(Failed, match=r"/nowhere/shim\.pem") as failed:
        machine.program().call("advertise", "a")
    assert failed.value.kind == "BeaconError", "and none that serves without TLS"


def test_where_there_is_a_secret_other_machines_need_the_token_that_the_command_prints(network: Network) -> None:
    here, there = network.host(), network.host()
    here.env |= {"NWDISCO_SECRET": SECRET, "NWDISCO_SHIM": "0.0.0.0:0"}
    here.program().call("advertise", "lamp/a", ":80")
    address = here.ip(), shim_address(here)[1]
    done = here.command("token")
    assert done.stdout.strip() == shim_token(SECRET)
    query = {"type": "query", "key": "all"}
    for token, is_right in (("", False), ("a guess", False), (done.stdout.strip(), True)):
        asked = json.dumps(query | {"token": token}).encode() + b"\r\n"
        assert json.loads(ask_from(there, address, asked, 1))["ok"] is is_right


def test_without_a_secret_there_is_no_token(machine: Machine) -> None:
    done = machine.command("token")
    assert done.returncode == 1
    assert "no token is needed" in done.stderr
