"""Messages between hosts: network namespaces, with cables that are pulled."""

from __future__ import annotations

import time

import pytest

from tests.machines import Failed, Program
from tests.namespaces import Host, Network


def asks(program: Program, address: str, message: str) -> None:
    program.begin("send_message_to", address, message, wait_for_reply_s=60)


def test_a_service_whose_address_was_picked_is_reached_on_each_of_its_networks(network: Network) -> None:
    between, east, west = network.host(0, 1), network.host(0), network.host(1)
    service = between.program()
    address, news = (service.call("advertise", name) for name in ("echo", "news"))
    everybody: list[tuple[Host, str]] = [(east, between.ip(0)), (west, between.ip(1)), (between, between.ip(0))]
    for host, ip in everybody:
        program = host.program()
        at = program.call("discover", "echo")
        if host is not between:
            assert at.startswith(f"{ip}:")
        asks(program, at, ip)
        assert service.call("wait_for_message_from", address, 20) == ip
        service.call("send_reply_to", address, ["for", ip])
        assert program.end() == ["for", ip]
        at = program.call("discover", "news")
        assert program.call("wait_for_news_from", at, "n", 0) == [None, None]
        program.begin("wait_for_news_from", at, "n", 30)
    here = between.program()
    for ip in (between.ip(0), between.ip(1), "127.0.0.1"):
        asks(here, f"{ip}:{address.partition(':')[2]}", ip)
        assert service.call("echo", address, 1) == 1
        assert here.end() == ip
    hearers = [between.programs[1], east.programs[0], west.programs[0]]
    service.call("send_news_to", news, "n", "to all")
    assert [hearer.end() for hearer in hearers] == [["n", "to all"]] * 3


def test_a_service_with_an_ip_of_its_own_choice_is_reached_there_only(network: Network) -> None:
    between, west = network.host(0, 1), network.host(1)
    service, asker = between.program(), west.program()
    address = service.call("advertise", "echo", f"{between.ip(1)}:8080")
    service.begin("echo", address, 1)
    assert asker.call("send_message_to", address, "here", wait_for_reply_s=20) == "here"
    assert service.end() == 1
    here = between.program()
    with pytest.raises(Failed, match="SocketTimedOutError"):
        here.call("send_message_to", f"{between.ip(0)}:8080", "there", wait_for_reply_s=0.3)


def test_a_service_whose_cable_is_pulled_while_one_waits_is_gone_and_no_other(network: Network) -> None:
    doomed, steady, host = network.host(), network.host(), network.host()
    services = {name: where.program() for name, where in (("doomed", doomed), ("steady", steady))}
    addresses = {name: service.call("advertise", name) for name, service in services.items()}
    told, finder, patient = (host.program() for _ in range(3))
    assert finder.call("discover", "doomed", 20) == addresses["doomed"]
    assert patient.call("discover", "steady", 20) == addresses["steady"]
    for asker, name in ((told, "doomed"), (finder, "doomed"), (patient, "steady")):
        asks(asker, addresses[name], "hello")
        assert services[name].call("wait_for_message_from", addresses[name], 20) == "hello"
    doomed.cable(plugged=False)
    pulled_at = time.monotonic()
    for asker in (told, finder):
        with pytest.raises(Failed, match=f"doomed at {addresses['doomed']} has left the network") as failed:
            asker.end()
        assert failed.value.kind == "ServiceGoneError"
        assert time.monotonic() - pulled_at < 20
    services["steady"].call("send_reply_to", addresses["steady"], "still here")
    assert patient.end() == "still here"
    doomed.cable(plugged=True)
    assert finder.call("discover", "doomed", 30) == addresses["doomed"]
    asks(finder, addresses["doomed"], "back?")
    assert services["doomed"].call("wait_for_message_from", addresses["doomed"], 20) == "back?"
    services["doomed"].call("send_reply_to", addresses["doomed"], "back!")
    assert finder.end() == "back!"
