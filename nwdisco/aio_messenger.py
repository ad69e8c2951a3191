"""The messenger's verbs for asyncio: the same names, arguments and results as in messenger.py, awaitable.

They share this process's sockets with the blocking verbs. Cancelling a call loses no message: it is taken only when its task is
there to get it.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any

from . import addressbook, config, messages
from .core.names import check_wait
from .errors import ServiceGoneError, SocketTimedOutError
from .messenger import Listener, Publisher, Seconds, Speaker, Subscriber, deadline_in
from .sockets import LAST_REPLY_S, Socket

TURN_LOOK_S = 0.005
"""How often a task looks whether another one, or a thread, has done with a socket."""


async def send_message_to(address: str, message: Any = None, wait_for_reply_s: Seconds = config.FOREVER) -> Any:
    """Send a message to a service, and give its reply. Raises what the blocking one raises."""
    data = messages.encode(message)
    wait_s = check_wait(wait_for_reply_s)
    deadline = deadline_in(wait_s)
    speaker = Speaker.to(await asyncio.to_thread(addressbook.place_of, address))
    async with _turn(speaker.turn, deadline) as has:
        if not has:
            raise SocketTimedOutError(wait_s or 0.0)
        try:
            socket, vigil = speaker.begin(data)
            frames = await _receive(socket, deadline, vigil.look)
            if frames is None:
                raise SocketTimedOutError(wait_s or 0.0)
        except BaseException:
            speaker.close()
            raise
    return speaker.read(frames[-1])


async def wait_for_message_from(address: str, wait_for_s: Seconds = config.FOREVER, autoreply: bool = False) -> Any:
    """The next message that arrives at an address of this program; None when none has after `wait_for_s` seconds."""
    deadline = deadline_in(check_wait(wait_for_s))
    listener = Listener.at(await asyncio.to_thread(addressbook.listening_place_of, address))
    async with _turn(listener.turn, deadline) as has:
        while has and (frames := await _receive(listener.socket, deadline)) is not None:
            message = listener.read(frames, _task())
            if message is None:
                continue
            if autoreply:
                listener.reply(messages.encode(None), _task())
            return message[0]
    return None


async def send_reply_to(address: str, reply: Any = None) -> None:
    """Answer the message that this task received last at an address."""
    data = messages.encode(reply)
    Listener.at(await asyncio.to_thread(addressbook.listening_place_of, address)).reply(data, _task())


async def send_news_to(address: str, topic: str, data: Any = None) -> None:
    """Publish news at an address of this program, for all who wait for it."""
    news = messages.encode_news(topic, data)
    publisher = Publisher.at(await asyncio.to_thread(addressbook.listening_place_of, address))
    await asyncio.to_thread(publisher.send, news)


async def wait_for_news_from(
    address: str | Sequence[str],
    prefix: str | Sequence[str] = "",
    wait_for_s: Seconds = config.FOREVER,
    is_raw: bool = False,
) -> tuple[str, Any] | tuple[None, None]:
    """The next news whose topic begins with `prefix`, as (topic, data); (None, None) when none came in time."""
    deadline = deadline_in(check_wait(wait_for_s))
    subscriber = await asyncio.to_thread(Subscriber.of, address, prefix)
    async with _turn(subscriber.turn, deadline) as has:
        while has and (frames := await _receive(subscriber.socket, deadline)) is not None:
            news = subscriber.read(frames, is_raw)
            if news is not None:
                return news
    return None, None


@asynccontextmanager
async def _turn(lock: threading.Lock, deadline: float | None) -> AsyncIterator[bool]:
    has = lock.acquire(blocking=False)
    while not has and (deadline is None or time.monotonic() < deadline):
        await asyncio.sleep(TURN_LOOK_S)
        has = lock.acquire(blocking=False)
    try:
        yield has
    finally:
        if has:
            lock.release()


async def _receive(
    socket: Socket, deadline: float | None, look: Callable[[], float] | None = None
) -> list[bytes] | None:
    """As Socket.receive, in a task."""
    loop = asyncio.get_running_loop()
    stirred = asyncio.Event()
    gone: ServiceGoneError | None = None

    def stir(fd: int) -> None:
        socket.look_again(fd)
        stirred.set()

    with socket.waited_on() as fds:
        for fd in fds:
            loop.add_reader(fd, stir, fd)
        try:
            while True:
                stirred.clear()
                frames = socket.take()
                left_s = None if deadline is None else deadline - time.monotonic()
                if frames is not None or (left_s is not None and left_s <= 0):
                    if frames is None and gone is not None:
                        raise gone
                    return frames
                if look is not None and gone is None:
                    try:
                        look_s = await asyncio.to_thread(look)
                    except ServiceGoneError as error:
                        gone, deadline = error, time.monotonic() + LAST_REPLY_S
                        continue
                    left_s = look_s if left_s is None else min(left_s, look_s)
                with suppress(TimeoutError):
                    async with asyncio.timeout(left_s):
                        await stirred.wait()
        finally:
            for fd in fds:
                loop.remove_reader(fd)


def _task() -> int:
    return id(asyncio.current_task())
