"""What is cancelled, interrupted or killed in asyncio leaves nothing on the beacon: no connection and no advert."""

from __future__ import annotations

import os
import signal

from tests.aio_program import run_program, succeed
from tests.machines import Machine, wait_until


def test_a_cancelled_discover_leaves_no_connection(machine: Machine) -> None:
    succeed(
        machine,
        """
        async def main():
            waiting = [asyncio.ensure_future(aio.discover("nobody")) for _ in range(5)]
            await until(programs, 5, "the waiting connections")
            for one in waiting:
                one.cancel()
            assert all(isinstance(end, asyncio.CancelledError) for end in await asyncio.gather(*waiting, return_exceptions=True))
            await until(programs, 0, "connections after the cancellation")
            try:
                async with asyncio.timeout(0.05):
                    await aio.discover("nobody", nw0.FOREVER)
            except TimeoutError:
                pass
            await until(programs, 0, "connections after the timeout")

        run(main)
        """,
    )


def test_a_cancelled_watch_leaves_no_connection_and_can_go_on(machine: Machine) -> None:
    succeed(
        machine,
        """
        async def main():
            await aio.advertise("printer/a", ":1")
            watch = aio.watch()
            assert (await anext(watch)).kind == "joined"
            await until(programs, 3, "the watch and the advert")
            waiting = asyncio.ensure_future(anext(watch))
            await asyncio.sleep(0)
            waiting.cancel()
            assert isinstance((await asyncio.gather(waiting, return_exceptions=True))[0], asyncio.CancelledError)
            await until(programs, 2, "the advert alone")
            await aio.unadvertise("printer/a")
            await aio.advertise("printer/b", ":2")
            later = [await anext(watch), await anext(watch)]
            assert [(e.kind, e.name) for e in later] == [("left", "printer/a"), ("joined", "printer/b")], later

        run(main)
        """,
    )


def test_an_advertise_that_is_cancelled_at_any_moment_leaves_no_advert(machine: Machine) -> None:
    succeed(
        machine,
        """
        async def main():
            await aio.advertise("warm", ":1")
            await aio.unadvertise("warm")
            made = 0
            for turns in range(60):
                advertising = asyncio.ensure_future(aio.advertise(f"x/{turns}", ":1"))
                for _ in range(turns // 2):
                    await asyncio.sleep(0.0001 * (turns % 2))
                advertising.cancel()
                try:
                    await advertising
                except asyncio.CancelledError:
                    assert adverts() == 0, f"an advert is left, cancelled in turn {turns}"
                else:
                    made += 1
                    assert await aio.unadvertise(f"x/{turns}")
            assert made < 60
            await until(programs, 2, "the connections of the lease")

        run(main)
        """,
    )


def test_an_advertise_that_is_cancelled_twice_leaves_no_advert(machine: Machine) -> None:
    """The first call starts the beacon, which takes a while: time enough for somebody impatient."""
    succeed(
        machine,
        """
        async def main():
            advertising = asyncio.ensure_future(aio.advertise("printer/a", ":1"))
            for _ in range(3):
                await asyncio.sleep(0.005)
                advertising.cancel()
            assert isinstance((await asyncio.gather(advertising, return_exceptions=True))[0], asyncio.CancelledError)
            await until(adverts, 0, "adverts")
            await aio.advertise("printer/b", ":2")
            assert [service.name for service in await aio.discover_all()] == ["printer/b"]

        asyncio.run(main())
        """,
    )


def test_an_advertise_that_looks_up_a_slow_host_name_is_cancelled_at_once(machine: Machine) -> None:
    succeed(
        machine,
        """
        import threading
        over = threading.Event()

        def look_up(host):
            over.wait(DEADLINE_S)
            raise OSError("no answer")

        socket.gethostbyname = look_up

        async def main():
            advertising = asyncio.ensure_future(aio.advertise("printer/a", "slow.example:1"))
            await asyncio.sleep(0.05)
            advertising.cancel()
            began_at = time.monotonic()
            assert isinstance((await asyncio.gather(advertising, return_exceptions=True))[0], asyncio.CancelledError)
            assert time.monotonic() - began_at < 2, "it waited for the name server"
            over.set()
            assert adverts() == 0

        run(main)
        """,
    )


def test_a_cancelled_unadvertise_withdraws_all_the_same(machine: Machine) -> None:
    succeed(
        machine,
        """
        async def main():
            await aio.advertise("printer/a", ":1")
            withdrawing = asyncio.ensure_future(aio.unadvertise("printer/a"))
            await asyncio.sleep(0)
            withdrawing.cancel()
            await asyncio.gather(withdrawing, return_exceptions=True)
            await until(adverts, 0, "adverts")

        run(main)
        """,
    )


def test_ctrl_c_ends_a_program_in_discover_and_withdraws_its_adverts(machine: Machine) -> None:
    watcher = machine.program()
    watcher.call("watch")
    code = """
        async def main():
            await aio.advertise("printer/a", ":1")
            os.kill(os.getpid(), signal.SIGINT)
            await aio.discover("nobody")

        try:
            run(main)
        except KeyboardInterrupt:
            print("interrupted")
        """
    assert succeed(machine, code) == "interrupted\n"
    assert [watcher.call("next_event")[0] for _ in range(2)] == ["joined", "left"]


def test_a_killed_program_in_asyncio_is_gone_at_once(machine: Machine) -> None:
    watcher = machine.program()
    watcher.call("watch")
    code = """
        async def main():
            print(await aio.advertise("doomed", ":1"), flush=True)
            os.kill(os.getpid(), signal.SIGKILL)

        run(main)
        """
    done = run_program(machine, code)
    assert done.returncode == -signal.SIGKILL
    assert [watcher.call("next_event")[0] for _ in range(2)] == ["joined", "left"]
    wait_until(lambda: machine.status()["adverts"] == 0, "the end of the advert")
    assert os.path.exists(machine.runtime_dir / "beacon.sock")
