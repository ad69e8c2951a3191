"""When a request may be made again: the rule of ServiceClient and AsyncServiceClient, as a table.

A request that never reached an instance can go to another one, whatever it asks. One that may have been carried out is made
again only where twice is as good as once: with an idempotent method (RFC 9110, 9.2.2), or when the caller says so. An
answer is an answer, whatever its status. Nothing here sends anything.
"""

from __future__ import annotations

from enum import Enum

try:
    import httpx as httpx  # the other modules take it from here: who lacks it is told what to do
except ImportError as error:
    raise ImportError("the HTTP layer of nwdisco needs httpx: pip install 'nwdisco[http]'") from error

from ..errors import AddressError

IDEMPOTENT = frozenset({"GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE"})
"""Methods that have the same effect twice as once (RFC 9110, 9.2.2)."""


class Failure(Enum):
    """What went wrong with an instance."""

    UNREACHED = "unreached"
    """No connection: nothing was sent."""
    BROKEN = "broken"
    """The connection broke: the request may have been carried out. It may also have been an idle connection, closed too soon."""
    LATE = "late"
    """No answer in time: it may still be at work."""


FAILURES: dict[type[Exception], Failure] = {
    AddressError: Failure.UNREACHED,  # the instance says no address that can be used
    httpx.UnsupportedProtocol: Failure.UNREACHED,  # nor a protocol that this client speaks
    httpx.ConnectError: Failure.UNREACHED,
    httpx.ConnectTimeout: Failure.UNREACHED,
    httpx.ReadError: Failure.BROKEN,
    httpx.WriteError: Failure.BROKEN,
    httpx.CloseError: Failure.BROKEN,
    httpx.RemoteProtocolError: Failure.BROKEN,  # among them: closed without an answer, or in the middle of one
    httpx.ReadTimeout: Failure.LATE,
    httpx.WriteTimeout: Failure.LATE,
}
"""By error; any other one is no instance's fault (httpx.PoolTimeout: too many requests of our own), so another would not help."""

SAME_INSTANCE = {Failure.UNREACHED: False, Failure.BROKEN: True, Failure.LATE: False}
"""Whether the same instance may be tried again where no other is left."""


def failure(error: BaseException) -> Failure | None:
    """What an error says about the instance; None when it says nothing."""
    return next((FAILURES[kind] for kind in type(error).__mro__ if kind in FAILURES), None)


def may_repeat(failed: Failure, method: str, repeatable: bool | None, body_is_there: bool) -> bool:
    """Whether a request that failed may be made again.

    `repeatable` is the caller's word, None for "as its method is". `body_is_there`: its body can be sent from the start.
    """
    if failed is Failure.UNREACHED:
        return body_is_there
    again = method.upper() in IDEMPOTENT if repeatable is None else repeatable
    return again and body_is_there
