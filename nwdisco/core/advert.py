"""An advert: what one program says of one service. A value: it never changes, it is replaced."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec


class Advert(msgspec.Struct, frozen=True, gc=False):
    name: str
    address: str
    """"ip:port" as this machine would use it."""
    properties: Mapping[str, str]
    ttl_s: float
    """Seconds that others keep it after they last heard its node."""
    node: str
    """The beacon it came from."""
    holder: str
    """Whose lease it stands on: the node for adverts from elsewhere, a program's connection for our own."""
    born: float
    """When it was advertised, on this machine's monotonic clock."""
    rank: int = 0
    """Later adverts of a name have a higher rank; the highest (then the highest node) is the one that is seen."""
    picked: bool = False
    """Its IP was picked, not given: it travels without one."""

    @property
    def order(self) -> tuple[int, str, str]:
        """What decides between adverts of one name: the same on every machine."""
        return (self.rank, self.node, self.holder)

    @property
    def address_on_the_wire(self) -> str:
        """ ":port" where the IP was picked: each receiver fills in the one under which it reaches this machine."""
        return self.address[self.address.rfind(":") :] if self.picked else self.address

    def travels_like(self, other: Advert) -> bool:
        """Others need not be told: what differs, if anything, does not travel."""
        mine = (self.address_on_the_wire, self.properties, self.ttl_s, self.rank, self.born)
        return mine == (other.address_on_the_wire, other.properties, other.ttl_s, other.rank, other.born)

    def says_the_same_as(self, other: Advert) -> bool:
        """Nothing that a program would see differs."""
        return self.address == other.address and self.properties == other.properties
