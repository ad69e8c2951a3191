"""The secret that a network's beacons share, and what is derived from it: keys, never the secret itself, leave this module.

PBKDF2 (RFC 8018) makes each guess cost as much as a beacon's start, for whoever recorded datagrams and tries words; a long
random secret needs no such help. Keys for different purposes and rooms have nothing to do with each other.
"""

from __future__ import annotations

from hashlib import pbkdf2_hmac

from .wire import base64url

ROUNDS = 100_000
"""More: each guess, and each beacon's start, takes longer."""
KEY_BYTES = 32


def lan_key(secret: str, room: str) -> bytes:
    """What authenticates the LAN's datagrams."""
    return _derived(secret, f"lan/{room}")


def shim_token(secret: str) -> str:
    """What programs on other machines show the shim; who learns it can register there, but forge no datagram."""
    return base64url(_derived(secret, "shim")[:18]).decode()


def _derived(secret: str, purpose: str) -> bytes:
    typed = secret.encode(errors="surrogateescape")  # bytes that are no UTF-8 stand for themselves, in a variable
    return pbkdf2_hmac("sha256", typed, f"nwdisco 1 {purpose}".encode(), ROUNDS, KEY_BYTES)
