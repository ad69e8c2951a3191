"""What etcd holds, read by a node: keys and values that anybody may have written, while nodes come near and go far."""

from __future__ import annotations

from collections import Counter

from nwdisco import config
from nwdisco.core import etcd, names
from nwdisco.core.advert import Advert
from nwdisco.core.directory import Directory
from nwdisco.core.refused import Refused

from .limits import small
from .rules import check_directory
from .script import Step, steps

BETWEEN = b"\x00"
"""Between a key and its value."""
NODES = ("node-two", "node-tre", "node-own")


def value(data: bytes) -> None:
    """A key and a value in each of the two ways: read or refused; what is read can be written and read again."""
    key, _, written = data.partition(BETWEEN)
    for decode in (_advert, _plain):
        try:
            decode(key, written)
        except Refused:
            continue


def _advert(key: bytes, written: bytes) -> None:
    said = etcd.decode(written)
    advert = Advert("x", said.address, said.properties, 5.0, "node-two", "node-two", -said.age_s, said.rank)
    again = etcd.decode(etcd.encode(advert, said.address, 0.0))
    assert (again.address, again.properties, again.rank) == (said.address, said.properties, said.rank)
    node, name = etcd.decode_key(key.removeprefix(etcd.PREFIX))
    assert etcd.decode_key(f"{node}/{name}".encode()) == (node, name)


def _plain(key: bytes, written: bytes) -> None:
    name, address = etcd.decode_plain(key, written)
    assert names.is_clean(name + address)
    assert 0 < int(address.rpartition(":")[2]) < 65536, f"no port: {address}"


def imports(data: bytes) -> None:
    with small():
        directory = Directory("node-own")
        mine = Advert("ours", "10.0.0.1:80", {}, 5.0, "node-own", "program", 0.0)
        directory.put(mine)
        found = etcd.Imports(directory, Counter())
        for number, step in enumerate(steps(data)):
            _play(found, step, float(number))
            _check(found, directory)
        check_directory(directory, 100.0)
        assert directory.held("program", "ours") == mine
        for is_plain in (True, False):
            found.clear(is_plain)
        assert len(found) == 0
        assert len(directory) == 1, "adverts outlived their keys"


def _play(found: etcd.Imports, step: Step, now: float) -> None:
    action, node = step.bits(0, 3), NODES[step.bits(4, 4) % len(NODES)]
    key, _, written = step.payload.partition(BETWEEN)
    lease = etcd.lease_id(1) if step.bits(3, 1) else 7
    if action == 1:
        found.gone(key)
    elif action == 2:
        found.near(node)
    elif action == 3:
        found.far(node)
    elif action == 4:
        found.left(node)
    elif action == 5:
        found.clear(bool(step.bits(3, 1)))
    elif action == 6:
        found.listing(key[: step.bits(4, 4)], [(key, written, lease), (key + b"2", written, lease)], now)
    else:
        found.stands(key, written, lease, now)


def _check(found: etcd.Imports, directory: Directory) -> None:
    assert len(found) <= config.MAX_ADVERTS
    assert len(found._nodes) <= config.MAX_NODES
    assert len(found) == sum(map(len, found._nodes.values())), "keys and adverts disagree"
    for node, adverts in found._nodes.items():
        assert 0 < len(adverts) <= config.MAX_ADVERTS_PER_NODE, f"{len(adverts)} adverts of {node}"
    for advert in directory.all():
        if advert.holder.startswith("!etcd/"):
            assert advert.node not in found._near, f"{advert.node} is believed in two ways"
            names.check_name(advert.name)
            names.check_address_text(advert.address)
