"""The LAN link's real sockets: what strangers send is counted and dropped, and the beacon goes on."""

from __future__ import annotations

import json
import random
import socket

from nwdisco.core.datagrams import Beat, Bye, Change, encode
from tests.machines import Machine, wait_until


def test_malformed_truncated_oversized_and_foreign_datagrams_are_counted_and_dropped(machine: Machine) -> None:
    program = machine.program()
    program.call("advertise", "stays", ":1")
    to = ("127.0.0.1", int(machine.env["NWDISCO_PORT"]))
    dice = random.Random(1)
    change = encode(Change("AAAAAAAA", 10_000, 0, 0, 0, 1, []))
    foreign = [
        b"",
        b"\0",
        b'["printer", "10.0.0.1:80", 20]',
        b"nw2[]",
        b"NOTIFY * HTTP/1.1\r\n",
        dice.randbytes(60_000),
    ]
    malformed = [
        *(change[:length] for length in range(4, len(change))),
        b"nw1[" + b"[" * 1300,
        b'nw1["beat","AAAAAAAA",-1,0,0]',
        b'nw1["beat","AAAAAAAA",1e400,0,0]',
        b'nw1["beat","\xff\xfeAAAAAA",1,0,0]',
        b'nw1["unheard-of"]',
        encode(Change("AAAAAAAA", 1, 0, 0, 9, 3, [])),
        b"nw1[" + b'"beat",' + b" " * 2000 + b"]",
    ]
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
        for data in foreign + malformed:
            stranger.sendto(data, to)
        wait_until(
            lambda: (
                machine.status()["lan"].get("foreign", 0) >= len(foreign)
                and machine.status()["lan"].get("malformed", 0) >= len(malformed)
            ),
            "all of them counted",
        )
        status = machine.status()
        assert status["lan"]["foreign"] == len(foreign)
        assert status["lan"]["malformed"] == len(malformed)
        assert status["nodes"] == []
        stranger.sendto(encode(Beat("AAAAAAAA", 10_000, 0, 0)), to)
        [node] = wait_until(lambda: machine.status()["nodes"], "a well-formed beat is heeded")
        assert node["node"] == "AAAAAAAA"
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as liar:
            liar.sendto(encode(Bye("AAAAAAAA", 20_000)), to)
            liar.sendto(encode(Bye(status["node"], 99_999)), to)
        stranger.sendto(encode(Bye("AAAAAAAA", 20_001)), to)
        wait_until(lambda: machine.status()["nodes"] == [], "its bye")
    assert program.call("discover_all") == [["stays", "127.0.0.1:1"]]
    assert json.dumps(machine.status())


def test_an_advert_from_the_wire_shows_the_address_that_its_datagram_came_from(machine: Machine) -> None:
    program = machine.program()
    program.call("discover_all")
    entry = b'["printer/z",1,":9100",1.5,0,5.0,{"dpi":"300"}]'
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
        other.bind(("127.0.0.5", 0))
        other.sendto(
            b'nw1["change","BBBBBBBB",10001,0,0,0,1,[' + entry + b"]]", ("127.0.0.1", int(machine.env["NWDISCO_PORT"]))
        )
        assert program.call("discover", "printer/z", 10) == "127.0.0.5:9100"
