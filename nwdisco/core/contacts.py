"""Contacts: which addresses have proved that they are who they seem, so that nobody can aim our answers at a victim.

An address proves itself by sending back what only its owner can have received from us. Until then we never send it more
bytes than came from it. The proof is a keyed hash of the address, so it costs no memory; what costs memory is bounded.
"""

from __future__ import annotations

from binascii import b2a_base64
from collections import OrderedDict
from collections.abc import Callable
from hashlib import blake2s

from .. import config
from .budget import Budget

Address = tuple[str, int]
"""IPv4 address as text, port."""

MAX_CREDIT = 4096
"""An unproved address that has so many bytes to its credit is given no more."""


class Contact:
    __slots__ = ("asked_at", "cookie", "credit", "greeted_at", "proved", "who_at")

    def __init__(self) -> None:
        self.proved = False
        self.credit = 0
        """Bytes received and not yet answered, while unproved."""
        self.cookie = ""
        """What this address wants to see from us."""
        self.who_at = float("-inf")
        """When we last answered its question who is here."""
        self.asked_at = float("-inf")
        """When it last asked us for our changes, which shows that it had that answer."""
        self.greeted_at = float("-inf")
        """When we began to ask it who it is, because it answered our question who is here."""


class Contacts:
    def __init__(self, secret: bytes, is_peer: Callable[[Address], bool]) -> None:
        """`secret`: at least 16 random bytes, new at every start. `is_peer`: addresses not to forget."""
        self._secret = secret
        self._is_peer = is_peer
        self._known: OrderedDict[Address, Contact] = OrderedDict()
        self.nonce_for_all = self._hash(b"all")

    def __len__(self) -> int:
        return len(self._known)

    def heard(self, address: Address, size: int) -> Contact:
        """So many bytes came from an address."""
        contact = self._known.get(address)
        if contact is None:
            contact = self._known[address] = Contact()
            if len(self._known) > config.MAX_CONTACTS:
                self._forget_one()
        if not contact.proved and contact.credit < MAX_CREDIT:
            contact.credit += size
        return contact

    def get(self, address: Address) -> Contact | None:
        return self._known.get(address)

    def proof_for(self, address: Address) -> str:
        """The six characters that an address must show us: nonce and cookie in one."""
        return self._hash(f"{address[0]}:{address[1]}".encode())

    def may_send(self, address: Address, size: int) -> bool:
        """Whether so many bytes may go to an address; they are taken from its credit."""
        contact = self._known.get(address)
        if contact is None:
            return False
        if contact.proved:
            return True
        if contact.credit < size:
            return False
        contact.credit -= size
        return True

    def is_proved(self, address: Address) -> bool:
        contact = self._known.get(address)
        return contact is not None and contact.proved

    def _forget_one(self) -> None:
        """The one known longest that is no peer's: a flood of forged addresses must not keep us from probing."""
        for _ in range(config.MAX_NODES + 1):
            address, contact = self._known.popitem(last=False)
            if not self._is_peer(address):
                return
            self._known[address] = contact

    def _hash(self, text: bytes) -> str:
        return b2a_base64(blake2s(text, key=self._secret, digest_size=4).digest())[:6].decode()


class Probes:
    """The budget of questions to nodes that fell silent: who invents nodes takes no probes from those that live."""

    def __init__(self, now: float) -> None:
        self._left = Budget(config.PROBES_PER_S, now)
        self._unproved_left = Budget(config.PROBES_PER_S / 2, now)
        """Of these, for addresses that have never proved themselves."""
        self._turn_at = now
        """Up to when the turns are given away."""

    def take(self, is_proved: bool, now: float) -> bool:
        """Whether one more may be sent now."""
        return (is_proved or self._unproved_left.take(now)) and self._left.take(now)

    def wait_s(self, is_proved: bool, now: float) -> float:
        """0 when a probe may be sent now; else how long until it is this one's turn to ask again."""
        if self.take(is_proved, now):
            return 0.0
        self._turn_at = max(self._turn_at, now) + 1 / config.PROBES_PER_S
        return max(self._turn_at - now, config.PROBE_GAP_MIN_S)
