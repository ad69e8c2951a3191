"""When the beacon ends: in asyncio the verbs go on with the next one, or say why they cannot."""

from __future__ import annotations

from tests.aio_program import succeed
from tests.machines import Machine


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
            from nwdisco.settings import Settings

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
