"""A watch in asyncio: an async iterator that tells what happens, ends in whichever way, and leaves no connection."""

from __future__ import annotations

from tests.aio_program import succeed
from tests.machines import Machine


def test_a_watch_is_an_async_iterator_over_what_joins_changes_and_leaves(machine: Machine) -> None:
    succeed(
        machine,
        """
        async def main():
            await aio.advertise("printer/a", ":1")
            await aio.advertise("other", ":9")
            seen = []
            async with aio.watch("printer") as watch:
                async for event in watch:
                    seen.append((event.kind, event.name, event.address))
                    if len(seen) == 1:
                        await aio.advertise("printer/a", ":2")
                    elif len(seen) == 2:
                        await aio.unadvertise("printer/a")
                    else:
                        break
            assert seen == [
                ("joined", "printer/a", "127.0.0.1:1"),
                ("changed", "printer/a", "127.0.0.1:2"),
                ("left", "printer/a", "127.0.0.1:2"),
            ], seen
            await until(programs, 2, "connections after the watch")

        run(main)
        """,
    )


def test_a_watch_ends_after_its_time_and_first_tells_what_is_there(machine: Machine) -> None:
    succeed(
        machine,
        """
        async def main():
            await aio.advertise("printer/a", ":1")
            await aio.advertise("printer/b", ":2")
            for wait_s in (0, 0.2):
                began_at = time.monotonic()
                assert [event.name async for event in aio.watch(wait_for_s=wait_s)] == ["printer/a", "printer/b"]
                took_s = time.monotonic() - began_at
                assert wait_s <= took_s < wait_s + 5, took_s
            await until(programs, 2, "connections after the watches")

        run(main)
        """,
    )


def test_a_watch_ends_when_another_task_closes_it_and_stays_ended(machine: Machine) -> None:
    succeed(
        machine,
        """
        async def main():
            watch = aio.watch()
            async def all_of_it():
                return [event.name async for event in watch]
            watching = asyncio.ensure_future(all_of_it())
            await until(programs, 1, "the watch's connection")
            watch.close()
            assert await watching == []
            assert [event async for event in watch] == []
            watch.close()
            await until(programs, 0, "connections after the watch")

        run(main)
        """,
    )


def test_a_watch_that_was_closed_tells_nothing_more(machine: Machine) -> None:
    succeed(
        machine,
        """
        async def main():
            await aio.advertise("printer/a", ":1")
            await aio.advertise("printer/b", ":2")
            watch = aio.watch()
            assert (await anext(watch)).name == "printer/a"
            watch.close()
            assert await anext(watch, None) is None
            never_begun = aio.watch()
            never_begun.close()
            assert await anext(never_begun, None) is None

        run(main)
        """,
    )


def test_a_watch_that_is_left_by_break_is_no_connection_any_more(machine: Machine) -> None:
    succeed(
        machine,
        """
        async def main():
            await aio.advertise("printer/a", ":1")
            async for event in aio.watch():
                break
            await until(programs, 2, "the advert's connections")

        run(main)
        """,
    )


def test_a_watch_that_outlives_its_event_loop_says_nothing(machine: Machine) -> None:
    succeed(
        machine,
        """
        async def main():
            await aio.advertise("printer/a", ":1")
            global watch
            watch = aio.watch()
            await anext(watch)

        run(main)
        del watch
        """,
    )
