"""The verbs for asyncio do what the blocking ones do, and hold up no event loop."""

from __future__ import annotations

from tests.aio_program import succeed
from tests.machines import Machine


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
