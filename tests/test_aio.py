"""The verbs for asyncio, in real programs against a real beacon: each test is a small asyncio program of its own.

Such a program has `run` around its `main`, and ends with an assertion error when a promise is broken. It looks at the
beacon through `programs()` and `adverts()`, which open a connection of their own.
"""

from __future__ import annotations

import os
import signal
from textwrap import dedent

from tests.machines import Machine, wait_until

PREAMBLE = """
import asyncio, json, os, signal, socket, sys, time
import nwdisco as nw0
from nwdisco import aio
from nwdisco.beacon import start

DEADLINE_S = 20.0

def status():
    while True:
        try:
            with start.connect_or_start() as end:
                end.sendall(b'nwdisco-control 1\\n{"do":"status"}\\n')
                return json.loads(end.makefile().readline())
        except (OSError, ValueError):
            continue  # a beacon that was just killed

def programs():
    "Connections to the beacon, without the one that asks."
    return status()["programs"] - 1

def adverts():
    return status()["adverts"]

async def until(condition, wanted, what):
    end = time.monotonic() + DEADLINE_S
    while (value := condition()) != wanted:
        assert time.monotonic() < end, f"{what}: {value!r} and not {wanted!r}"
        await asyncio.sleep(0.005)

def run(main):
    "With asyncio's debug mode, which complains of what was forgotten; here not of what is slow on a busy machine."
    async def patiently():
        asyncio.get_running_loop().slow_callback_duration = DEADLINE_S
        await main()
    start.connect_or_start().close()
    asyncio.run(patiently(), debug=True)
"""


def succeed(machine: Machine, code: str, stdin: str | None = None) -> str:
    """Run an asyncio program; what it printed."""
    done = machine.python(PREAMBLE + dedent(code), input=stdin)
    assert done.returncode == 0, done.stderr
    assert done.stderr == "", "it complained"
    return done.stdout


# --- the verbs ---


def test_the_verbs_do_what_the_blocking_ones_do(machine: Machine) -> None:
    succeed(
        machine,
        """
        async def main():
            address = await aio.advertise("printer/a")
            assert address.startswith("127.0.0.1:"), address
            assert await aio.advertise("printer/b", ":8080", properties={"dpi": "600"}) == "127.0.0.1:8080"
            assert await aio.advertise("chat:me", 9090, ttl_s=60) == "127.0.0.1:9090"
            assert await aio.discover("printer/a") == address
            assert await aio.discover("nobody", 0) is None
            assert dict(await aio.discover_group("printer")) == {"printer/a": address, "printer/b": "127.0.0.1:8080"}
            assert [s.name for s in await aio.discover_group("printer", exclude="printer/a")] == ["printer/b"]
            assert [s.name for s in await aio.discover_group("chat", separator=":")] == ["chat:me"]
            found = await aio.discover_all()
            assert [s.name for s in found] == ["chat:me", "printer/a", "printer/b"]
            assert found[2].properties == {"dpi": "600"} and found[2].node and found[2].age_s >= 0
            assert await aio.unadvertise("printer/a") is True
            assert await aio.unadvertise("printer/a") is False
            assert await aio.discover("printer/a", 0) is None
            try:
                await aio.advertise("printer/b", fail_if_exists=True)  # one's own
            except nw0.NameTakenError as error:
                raise AssertionError("one's own name is not taken") from error

        run(main)
        """,
    )


def test_adverts_are_those_of_the_process_whichever_way_they_were_made(machine: Machine) -> None:
    succeed(
        machine,
        """
        async def main():
            nw0.advertise("blocking", ":1")
            await aio.advertise("asyncio", ":2")
            assert await aio.unadvertise("blocking")
            assert nw0.unadvertise("asyncio")
            assert nw0.discover_all() == await aio.discover_all() == []
            await aio.advertise("stays", ":3")

        run(main)
        assert nw0.discover("stays") == "127.0.0.1:3", "an advert ended with its event loop"
        """,
    )


def test_a_name_that_is_taken_is_an_error(machine: Machine) -> None:
    machine.program().call("advertise", "printer/a", ":1")
    succeed(
        machine,
        """
        async def main():
            try:
                await aio.advertise("printer/a", ":2", fail_if_exists=True)
            except nw0.NameTakenError as error:
                assert (error.name, error.address) == ("printer/a", "127.0.0.1:1")
            else:
                raise AssertionError("given away")
            assert await aio.discover("printer/a") == "127.0.0.1:1"

        run(main)
        """,
    )


def test_bad_input_is_an_error_at_the_call_before_any_beacon_is_asked(machine: Machine) -> None:
    succeed(
        machine,
        r"""
        CALLS = [
            (lambda: aio.advertise(""), nw0.AdvertError),
            (lambda: aio.advertise("n" * 256), nw0.AdvertError),
            (lambda: aio.advertise("a\nb"), nw0.AdvertError),
            (lambda: aio.advertise(7), nw0.AdvertError),
            (lambda: aio.advertise("x", ":0"), nw0.AddressError),
            (lambda: aio.advertise("x", 65536), nw0.AddressError),
            (lambda: aio.advertise("x", "256.1.1.1"), nw0.InvalidAddressError),
            (lambda: aio.advertise("x", ttl_s=-1), nw0.AdvertError),
            (lambda: aio.advertise("x", properties={"a": 1}), nw0.AdvertError),
            (lambda: aio.advertise("x", properties={"a": "x" * 700}), nw0.AdvertError),
            (lambda: aio.unadvertise(""), nw0.AdvertError),
            (lambda: aio.discover(""), nw0.AdvertError),
            (lambda: aio.discover("x", -1), ValueError),
            (lambda: aio.discover("x", float("nan")), ValueError),
            (lambda: aio.discover_group(""), nw0.AdvertError),
            (lambda: aio.discover_group("g", exclude=[""]), nw0.AdvertError),
        ]

        async def main():
            for call, kind in CALLS:
                try:
                    await call()
                except kind:
                    continue
                raise AssertionError(f"no error of call {CALLS.index((call, kind))}")
            for call in (lambda: aio.watch(""), lambda: aio.watch(wait_for_s=-1), lambda: aio.watch("g", "")):
                try:
                    call()
                except ValueError:
                    continue
                raise AssertionError("no error of a watch")

        asyncio.run(main())
        assert start.connect_if_running() is None, "a beacon was started"
        """,
    )


def test_the_first_call_starts_the_beacon_without_holding_up_the_event_loop(machine: Machine) -> None:
    succeed(
        machine,
        """
        async def main():
            turns = 0
            discovering = asyncio.ensure_future(aio.discover("nobody", 0))
            while not discovering.done():
                turns += 1
                await asyncio.sleep(0.001)
            assert await discovering is None
            assert turns > 5, f"the loop turned {turns} times while a beacon was started"

        asyncio.run(main())
        """,
    )


def test_ten_discovers_at_once_each_get_their_answer(machine: Machine) -> None:
    succeed(
        machine,
        """
        async def main():
            waiting = [asyncio.ensure_future(aio.discover(f"lamp/{n % 5}")) for n in range(10)]
            await until(programs, 10, "ten waiting connections")
            for number in range(5):
                await aio.advertise(f"lamp/{number}", 1000 + number)
            assert await asyncio.gather(*waiting) == [f"127.0.0.1:{1000 + n % 5}" for n in range(10)]
            await until(programs, 2, "the two connections of the adverts")

        run(main)
        """,
    )


def test_a_waiting_discover_returns_when_another_program_advertises(machine: Machine) -> None:
    program = machine.program()
    program.begin("discover", "go", 20)
    succeed(
        machine,
        """
        async def main():
            waiting = asyncio.ensure_future(aio.discover("printer/a", nw0.FOREVER))
            await until(programs, 2, "the waiting connections, the other program's and mine")
            await aio.advertise("go", ":1")
            await aio.advertise("printer/a", ":2")
            assert await waiting == "127.0.0.1:2"

        run(main)
        """,
    )
    assert program.end() == "127.0.0.1:1"


# --- watch ---


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


# --- cancellation ---


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


# --- the beacon ends ---


def test_a_waiting_discover_goes_on_with_the_next_beacon(machine: Machine) -> None:
    succeed(
        machine,
        """
        async def main():
            waiting = [asyncio.ensure_future(aio.discover("printer/a")) for _ in range(3)]
            await until(programs, 3, "the waiting connections")
            os.kill(status()["pid"], signal.SIGKILL)
            await until(programs, 3, "the waiting connections on the next beacon")
            await aio.advertise("printer/a", ":1")
            assert await asyncio.gather(*waiting) == ["127.0.0.1:1"] * 3

        run(main)
        """,
    )


def test_a_discover_keeps_to_its_time_when_the_beacon_is_killed(machine: Machine) -> None:
    succeed(
        machine,
        """
        async def main():
            began_at = time.monotonic()
            waiting = asyncio.ensure_future(aio.discover("nobody", 3))
            await until(lambda: time.monotonic() - began_at > 2.5, True, "most of the time over")
            os.kill(status()["pid"], signal.SIGKILL)
            assert await waiting is None
            took_s = time.monotonic() - began_at
            assert 3 <= took_s < 5.3, f"{took_s} s, as if the time began anew"

        run(main)
        """,
    )


def test_a_watch_goes_on_with_the_next_beacon_and_tells_only_what_is_different(machine: Machine) -> None:
    succeed(
        machine,
        """
        async def main():
            await aio.advertise("stays", ":1")
            watch = aio.watch()
            assert [(e.kind, e.name) for e in [await anext(watch)]] == [("joined", "stays")]
            waiting = asyncio.ensure_future(anext(watch))
            await asyncio.sleep(0)
            killed = status()["pid"]
            os.kill(killed, signal.SIGKILL)
            await until(programs, 3, "the advert and the watch on the next beacon")
            assert status()["pid"] != killed
            await until(adverts, 1, "the advert")
            await aio.advertise("comes", ":2")
            seen = [await waiting]
            while seen[-1].name != "comes":
                seen.append(await anext(watch))
            told = [(e.kind, e.name) for e in seen]
            assert told == [("joined", "comes")], f"false alarms: {told}"

        run(main)
        """,
    )


def test_adverts_are_put_back_while_an_event_loop_runs(machine: Machine) -> None:
    succeed(
        machine,
        """
        async def main():
            await aio.advertise("printer/a", ":1")
            os.kill(status()["pid"], signal.SIGKILL)
            assert await aio.discover("printer/a") == "127.0.0.1:1"

        run(main)
        """,
    )


def test_a_beacon_of_another_version_is_an_error_that_says_what_to_do(machine: Machine) -> None:
    succeed(
        machine,
        """
        async def main():
            from nwdisco.beacon.runtime import Runtime
            from nwdisco.config import Settings

            async def serve(reader, writer):
                await reader.readline()
                writer.write(b'{"error": "version", "message": "run  nwdisco stop", "address": ""}\\n')
                writer.close()

            runtime = Runtime(Settings.from_environment())
            runtime.prepare()
            async with await asyncio.start_unix_server(serve, runtime.socket):
                for call in (aio.discover("x"), aio.discover_all(), anext(aio.watch())):
                    try:
                        await call
                    except nw0.BeaconVersionError as error:
                        assert "nwdisco stop" in str(error)
                    else:
                        raise AssertionError("no error")

        asyncio.run(main())
        """,
    )


def test_a_killed_program_in_asyncio_is_gone_at_once(machine: Machine) -> None:
    watcher = machine.program()
    watcher.call("watch")
    code = """
        async def main():
            print(await aio.advertise("doomed", ":1"), flush=True)
            os.kill(os.getpid(), signal.SIGKILL)

        run(main)
        """
    done = machine.python(PREAMBLE + dedent(code))
    assert done.returncode == -signal.SIGKILL
    assert [watcher.call("next_event")[0] for _ in range(2)] == ["joined", "left"]
    wait_until(lambda: machine.status()["adverts"] == 0, "the end of the advert")
    assert os.path.exists(machine.runtime_dir / "beacon.sock")
