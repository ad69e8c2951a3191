"""A page of the web can make a browser on this machine send requests to the shim's port: they change nothing."""

from __future__ import annotations

from tests.machines import Machine
from tests.shim import Shim, refusal


def test_a_browser_s_request_with_lines_in_its_body_changes_nothing(machine: Machine) -> None:
    shim = Shim(machine)
    body = b'{"type":"register","key":"evil","values":"x"}\r\n'
    head = b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" % len(body)
    with shim.wire(head + body) as wire:
        refusal(wire.line())
        assert wire.line() is None
    with shim.wire() as wire:
        assert wire.names() == []
    shim.end()
