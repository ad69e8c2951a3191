"""What must hold of a directory, whatever came in: every target that has one asks for it."""

from __future__ import annotations

from nwdisco import config
from nwdisco.core import datagrams, names
from nwdisco.core.directory import Directory


def check_directory(directory: Directory, now: float) -> None:
    """It holds no more than it may, its views agree, and what this node says can be read by every other."""
    visible = directory.all()
    assert len(directory) <= config.MAX_ADVERTS, f"{len(directory)} adverts"
    shown = [advert.name for advert in visible]
    assert shown == sorted(set(shown)), f"names twice or in disorder: {shown}"
    for advert in visible:
        assert directory.get(advert.name) is advert
        assert names.is_clean(advert.name), f"an unclean name: {advert.name!r}"
        own = directory.own(advert.name)
        if own is None:
            continue
        entry = datagrams.encode_entry(own.name, 1, own, now)
        change = datagrams.encode_change(directory.node, 10_000, 0, 0, 0, 1, [entry])
        read = datagrams.decode(change)  # raises what it holds against it
        assert isinstance(read, datagrams.Change)
        assert (read.entries[0].name, read.entries[0].address) == (own.name, own.address_on_the_wire)
