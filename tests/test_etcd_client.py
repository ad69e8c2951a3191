"""etcd's client knows whether what it wrote is in etcd's history: it is not once etcd was restored from an older backup."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from nwdisco.etcd import client as module
from nwdisco.etcd.client import Client, Op
from nwdisco.etcd.settings import EtcdSettings
from tests.etcd import Etcd

Story = Callable[[Client], Awaitable[None]]
A, NO_A, NONE = Op(b"a", b"1"), Op(b"a", None), Op(b"", None, is_prefix=True)


@pytest.fixture(autouse=True)
def each_look_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    """However soon after the one before."""
    monkeypatch.setattr(module, "LOOKED_EACH_S", 0.0)


def tell(etcd: Etcd, story: Story) -> None:
    async def told() -> None:
        client = Client(EtcdSettings.at(etcd.address))
        try:
            await story(client)
        finally:
            await client.close()

    asyncio.run(told())


def others_write(etcd: Etcd) -> None:
    for number in range(9):
        etcd.ctl("put", f"other/{number}", "1")


def test_what_was_written_is_remembered_whatever_others_do(etcd: Etcd) -> None:
    async def story(client: Client) -> None:
        assert await client.remembers(), "nothing was written"
        for op in (A, NO_A, A, NONE, A):
            await client.write([op])
            assert await client.remembers()
        etcd.ctl("put", "a", "2")
        assert await client.remembers()
        etcd.ctl("del", "a")
        assert await client.remembers()
        etcd.kill()
        etcd.start()
        assert await client.remembers()
        etcd.ctl("compact", str(etcd.revision()))
        assert await client.remembers()

    tell(etcd, story)


@pytest.mark.parametrize("before", [[], [A]])
@pytest.mark.parametrize("after", [[A], [NO_A], [NONE], [A, NO_A], [NO_A, A]])
@pytest.mark.parametrize("is_busy", [False, True])
def test_what_was_written_after_the_backup_is_missed_once(
    etcd: Etcd, before: list[Op], after: list[Op], is_busy: bool
) -> None:
    """Though others may have written more than ever since the restore."""
    etcd.ctl("put", "a", "0")

    async def story(client: Client) -> None:
        for op in before:
            await client.write([op])
        etcd.back_up()
        for op in after:
            await client.write([op])
        etcd.restore()
        if is_busy:
            others_write(etcd)
        assert not await client.remembers()
        assert await client.remembers()

    tell(etcd, story)


def test_what_was_written_before_the_backup_is_there_after_it_is_restored(etcd: Etcd) -> None:
    async def story(client: Client) -> None:
        await client.write([A])
        etcd.back_up()
        etcd.restore()
        others_write(etcd)
        assert await client.remembers()

    tell(etcd, story)


def test_a_write_that_was_on_its_way_during_the_restore_hides_nothing(etcd: Etcd) -> None:
    async def story(client: Client) -> None:
        etcd.back_up()
        for _ in range(9):
            await client.write([A])
        etcd.restore()
        await client.write([A])
        assert not await client.remembers()

    tell(etcd, story)
