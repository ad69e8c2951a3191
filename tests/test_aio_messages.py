"""The messenger's verbs for asyncio, in real programs."""

from __future__ import annotations

from textwrap import dedent, indent

from tests.aio_program import succeed
from tests.machines import Machine


def succeeds(machine: Machine, main: str) -> None:
    succeed(machine, "async def main():\n" + indent(dedent(main), "    ") + "\nrun(main)\n")


def test_tasks_ask_and_answer_each_other(machine: Machine) -> None:
    succeeds(
        machine,
        """
        address = await aio.advertise("echo")

        async def serve():
            while True:
                message = await aio.wait_for_message_from(address)
                await asyncio.sleep(0.001 * (5 - message))
                await aio.send_reply_to(address, ["got", message])

        servers = [asyncio.create_task(serve()) for _ in range(3)]
        replies = await asyncio.gather(*[aio.send_message_to(address, number) for number in range(5)])
        assert replies == [["got", number] for number in range(5)], replies
        for server in servers:
            server.cancel()
        """,
    )


def test_news_and_time_limits_and_an_empty_reply(machine: Machine) -> None:
    succeeds(
        machine,
        """
        address = await aio.advertise("news")
        waiting = asyncio.create_task(aio.wait_for_news_from(address, "temp", 20))
        await asyncio.sleep(0)
        await aio.send_news_to(address, "humidity", 1)
        await aio.send_news_to(address, "temperature", 2)
        assert await waiting == ("temperature", 2)
        assert await aio.wait_for_news_from(address, "temp", 0.01) == (None, None)
        listening = await aio.advertise("listening")
        assert await aio.wait_for_message_from(listening, 0.01) is None
        asked = asyncio.create_task(aio.send_message_to(listening, "x", 20))
        assert await aio.wait_for_message_from(listening, autoreply=True) == "x"
        assert await asked is None
        """,
    )


def test_a_cancelled_wait_loses_no_message_and_the_next_send_after_a_timeout_works(machine: Machine) -> None:
    succeeds(
        machine,
        """
        address = await aio.advertise("slow")
        waiting = asyncio.create_task(aio.wait_for_message_from(address))
        await asyncio.sleep(0.05)
        waiting.cancel()
        try:
            await aio.send_message_to(address, "first", 0.2)
            raise AssertionError("nobody has replied")
        except nw0.SocketTimedOutError:
            pass
        assert await aio.wait_for_message_from(address, 20) == "first"
        asked = asyncio.create_task(aio.send_message_to(address, "second", 20))
        assert await aio.wait_for_message_from(address, 20, autoreply=True) == "second"
        assert await asked is None
        """,
    )


def test_the_verbs_of_both_kinds_share_an_address(machine: Machine) -> None:
    succeeds(
        machine,
        """
        address = await aio.advertise("both")
        asked = asyncio.create_task(asyncio.to_thread(nw0.send_message_to, address, 1, 20))
        assert await aio.wait_for_message_from(address, 20) == 1
        await aio.send_reply_to(address, 2)
        assert await asked == 2
        asked = asyncio.create_task(aio.send_message_to(address, 3, 20))
        assert await asyncio.to_thread(nw0.wait_for_message_from, address, 20, True) == 3
        assert await asked is None
        """,
    )
