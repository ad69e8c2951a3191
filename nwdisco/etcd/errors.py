"""etcd's errors, and gRPC's, as nwdisco's: what was wrong, at which etcd, and what to do."""

from __future__ import annotations

import grpc

from ..errors import RegistryAccessError, RegistryError, RegistryKeyError, RegistryUnavailableError

UNAVAILABLE = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.CANCELLED)
NO_TRUST = ("CERTIFICATE_VERIFY_FAILED", "Hostname Verification", "security handshaker", "TSI_")
"""In gRPC's words: a certificate, theirs or ours, is refused or unreadable."""
TOO_LARGE = ("request is too large", "message larger than max")
NO_ACCESS = (grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED)
OLD_USERS = "revision of auth store is old"
"""In etcd's words: the token is of before some user or role was changed. (Those that are JWTs say so.)"""
LEADER_CHANGED = "leader changed"
"""In etcd's words: it has another one already."""


class Compacted(RegistryError):
    """What is asked for is older than what etcd remembers: read everything again."""


class Future(RegistryError):
    """What is asked for is of a revision to which etcd has not come."""


class LeaseLost(RegistryError):
    """etcd does not know the lease (any more)."""


class LeaseTaken(RegistryError):
    """Another lease has this id."""


def wants_a_new_token(error: grpc.RpcError) -> bool:
    """etcd did nothing, for the token is one no more."""
    return error.code() == grpc.StatusCode.UNAUTHENTICATED or OLD_USERS in (error.details() or "")


def is_cut_off(error: grpc.RpcError) -> bool:
    """This member of the cluster answers, but has lost the others (or ends): another one may serve."""
    details = error.details() or ""
    return (
        error.code() == grpc.StatusCode.UNAVAILABLE
        and details.startswith("etcdserver: ")
        and LEADER_CHANGED not in details
    )


def is_distrust(error: grpc.RpcError) -> bool:
    return any(words in (error.details() or "") for words in NO_TRUST)


def named(error: grpc.RpcError, where: str) -> RegistryError:
    """`where`: which etcd it was."""
    code, details = error.code(), error.details() or ""
    if is_distrust(error):
        return RegistryAccessError(
            f"{where} and we do not trust each other ({details}): see NWDISCO_ETCD_CA, and _CERT and _KEY if it asks for them"
        )
    if code in UNAVAILABLE:
        return RegistryUnavailableError(
            f"{where} does not answer ({details or code.name}): "
            "is it running, is this its address, with https:// if it speaks TLS, is a firewall between?"
        )
    if "requested lease not found" in details:
        return LeaseLost(f"{where} has no such lease (any more)")
    if "lease already exists" in details:
        return LeaseTaken(f"{where} has a lease of this id already")
    if code == grpc.StatusCode.PERMISSION_DENIED:
        return RegistryAccessError(f"{where} does not let us at these keys ({details}): see the roles of its users")
    if any(words in details for words in TOO_LARGE):
        return RegistryKeyError(f"{where} takes nothing so large ({details}): put less at once")
    if code in NO_ACCESS or "authentication" in details or "user name is empty" in details:
        return RegistryAccessError(f"{where} refuses us ({details}): see NWDISCO_ETCD_USER and NWDISCO_ETCD_PASSWORD")
    if "required revision has been compacted" in details:
        return Compacted(f"{where} has forgotten that revision")
    if "required revision is a future revision" in details:
        return Future(f"{where} has not come to that revision yet")
    if code == grpc.StatusCode.UNIMPLEMENTED:
        return RegistryError(f"{where} does not speak etcd's v3 API: it is too old, or something else")
    return RegistryError(f"{where} refused: {details or code.name}")
