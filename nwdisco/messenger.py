"""Messages and news between programs: NetworkZero's verbs, its arguments, its wire (ZeroMQ, JSON). docs/messages.md has the rest.

All may be called from any thread. Errors are in errors.py: MessageError for what cannot be sent, InvalidAddressError and
SocketAlreadyExistsError for addresses, SocketInterruptedError for Ctrl-C in a wait.
"""

from __future__ import annotations

import atexit
import logging
import os
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar

import zmq

from . import addressbook, config, messages
from .core.names import check_wait
from .errors import InvalidAddressError, MessageError, SocketTimedOutError
from .messages import Foreign
from .sockets import NOBLOCK, SNDMORE, Socket, take_turn
from .vigil import Vigil

Seconds = float | config.Forever
T = TypeVar("T")
logger = logging.getLogger("nwdisco")
MOST_UNANSWERED = 1000
"""Messages of one listener that can still be replied to; who leaves more without a reply leaves the oldest for good."""


# --- the verbs --------------------------------------------------------------------------------------------


def send_message_to(address: str, message: Any = None, wait_for_reply_s: Seconds = config.FOREVER) -> Any:
    """Send a message to a service, and give its reply.

    `message`: text, numbers, True, False, None, lists, tuples and dicts of these (32 MiB as JSON at most). Raises
    SocketTimedOutError when no reply came in time, ServiceGoneError when the service ends or leaves the network meanwhile.
    """
    data = messages.encode(message)
    wait_s = check_wait(wait_for_reply_s)
    return Speaker.to(addressbook.place_of(address)).ask(data, wait_s)


def wait_for_message_from(address: str, wait_for_s: Seconds = config.FOREVER, autoreply: bool = False) -> Any:
    """The next message that arrives at an address of this program; None when none has after `wait_for_s` seconds.

    Answer it with send_reply_to, or at once and empty with `autoreply`. Where advertise picked the address's IP, it is
    listened for on all networks of this machine. The address of another program (NetworkZero's documentation has
    that) stands for the one that this program has advertised.
    """
    deadline = deadline_in(check_wait(wait_for_s))
    listener = Listener.at(addressbook.listening_place_of(address))
    arrived = listener.receive(deadline, threading.get_ident())
    if arrived is None:
        return None
    if autoreply:
        listener.reply(messages.encode(None), threading.get_ident())
    return arrived[0]


def send_reply_to(address: str, reply: Any = None) -> None:
    """Answer the message that was last received at an address (by this thread, if it has received any)."""
    Listener.at(addressbook.listening_place_of(address)).reply(messages.encode(reply), threading.get_ident())


def send_news_to(address: str, topic: str, data: Any = None) -> None:
    """Publish news at an address of this program, for all who wait for it. Bytes go as they are."""
    Publisher.at(addressbook.listening_place_of(address)).send(messages.encode_news(topic, data))


def wait_for_news_from(
    address: str | Sequence[str],
    prefix: str | Sequence[str] = "",
    wait_for_s: Seconds = config.FOREVER,
    is_raw: bool = False,
) -> tuple[str, Any] | tuple[None, None]:
    """The next news whose topic begins with `prefix`, as (topic, data); (None, None) when none came in time.

    `address` and `prefix` may be several. From the first wait on, what is published is kept for the next waits with the same
    address and prefix. `is_raw`: the data as bytes.
    """
    news = Subscriber.of(address, prefix).receive(deadline_in(check_wait(wait_for_s)), is_raw)
    return (None, None) if news is None else news


# --- who does it ------------------------------------------------------------------------------------------


class Speaker:
    """Asks one address, a question at a time."""

    def __init__(self, place: str) -> None:
        self._place = place
        self.turn = threading.Lock()
        self._socket: Socket | None = None

    @classmethod
    def to(cls, place: str) -> Speaker:
        return _messenger.get(("speaker", place), lambda: cls(place))

    def ask(self, data: bytes, wait_s: float | None) -> Any:
        deadline = deadline_in(wait_s)
        if not take_turn(self.turn, deadline):
            raise SocketTimedOutError(wait_s or 0.0)
        try:
            socket, vigil = self.begin(data)
            reply = socket.receive_alone(deadline, vigil.look)
            if reply is None:
                raise SocketTimedOutError(wait_s or 0.0)
        except BaseException:
            self.close()  # a reply that comes too late is nobody's; the next question has a new connection
            raise
        finally:
            self.turn.release()
        return self.read(reply)

    def begin(self, data: bytes) -> tuple[Socket, Vigil]:
        """Ask: the socket on which the reply will come, and whoever looks whether it still can."""
        if self._socket is not None and self._socket.has_events():
            self.close()  # the connection of earlier questions has broken, and ZeroMQ may have given up on it
        if self._socket is None:
            self._socket = _messenger.socket(zmq.REQ, self._place)
        vigil = Vigil(self._place, self._socket)
        self._socket.send([data])
        return self._socket, vigil

    def read(self, reply: bytes) -> Any:
        try:
            return messages.decode(reply)
        except Foreign as error:
            raise MessageError(
                f"{self._place} replied with what is no message ({error}): is it a nwdisco program?"
            ) from None

    def end(self) -> None:
        """The program ends."""
        if self.turn.acquire(blocking=False):
            self.close()
            self.turn.release()

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None


class Listener:
    """Hears messages at one address, and answers them."""

    def __init__(self, place: str) -> None:
        self.socket = _messenger.socket(zmq.ROUTER, place)
        self.turn = threading.Lock()
        self._unanswered: dict[int, list[bytes]] = {}
        """The way back to who sent the last message, by who received it (a thread, or a task of asyncio)."""
        self.end = self.socket.close

    @classmethod
    def at(cls, place: str) -> Listener:
        return _messenger.get(("listener", place), lambda: cls(place))

    def receive(self, deadline: float | None, receiver: int) -> tuple[Any] | None:
        if not take_turn(self.turn, deadline):
            return None
        try:
            while (frames := self.socket.receive(deadline)) is not None:
                if (message := self.read(frames, receiver)) is not None:
                    return message
            return None
        finally:
            self.turn.release()

    def read(self, frames: list[bytes], receiver: int) -> tuple[Any] | None:
        """A message, in a tuple of one; None for what is none."""
        try:
            envelope, data = messages.split_envelope(frames)
            message = messages.decode(data)
        except Foreign as error:
            logger.warning("something arrived that is no message, and was left out: %s", error)
            return None
        self._unanswered.pop(receiver, None)
        self._unanswered[receiver] = envelope
        if len(self._unanswered) > MOST_UNANSWERED:
            del self._unanswered[next(iter(self._unanswered))]
        return (message,)

    def reply(self, data: bytes, receiver: int) -> None:
        envelope = self._unanswered.pop(receiver, None)
        if envelope is None:
            if not self._unanswered:
                raise MessageError("there is no message to reply to: wait for one first, and reply to each once")
            envelope = self._unanswered.popitem()[1]  # somebody else has received it
        self.socket.send([*envelope, data])


class Publisher:
    """Publishes news at one address. What is published in its first moments is held until subscribers have found it."""

    def __init__(self, place: str) -> None:
        self._socket = _messenger.socket(zmq.PUB, place)
        self._socket.zmq.xpub_nodrop = 1
        self._lock = threading.Lock()
        self._opens_at = time.monotonic() + config.NEWS_HELD_S
        self._held: list[list[bytes]] = []
        self._patient = True
        self.end = self._socket.close

    @classmethod
    def at(cls, place: str) -> Publisher:
        return _messenger.get(("publisher", place), lambda: cls(place))

    def send(self, news: list[bytes]) -> None:
        with self._lock:
            if time.monotonic() >= self._opens_at:
                self._let_go()
                self._send(news)
                return
            self._held.append(news)
            if len(self._held) == 1:  # not a daemon: the end of the program waits for it
                threading.Timer(self._opens_at - time.monotonic(), self._open).start()

    def _open(self) -> None:
        with self._lock:
            self._let_go()

    def _let_go(self) -> None:
        held, self._held = self._held, []
        for news in held:
            self._send(news)

    def _send(self, news: list[bytes]) -> None:
        """To all; who is behind is waited for, but not for ever, and not again before it has caught up."""
        socket = self._socket
        until = time.monotonic() + config.NEWS_PATIENCE_S
        while True:
            with socket.lock:
                try:
                    socket.zmq.send(news[0], SNDMORE | NOBLOCK)
                    socket.zmq.send(news[1])
                    self._patient = True
                    return
                except zmq.Again:
                    if not self._patient or time.monotonic() > until:
                        self._patient = False
                        socket.zmq.xpub_nodrop = 0
                        socket.zmq.send_multipart(news)
                        socket.zmq.xpub_nodrop = 1
                        return
                socket.zmq.poll(10, zmq.POLLOUT)


class Subscriber:
    """Hears news with certain prefixes from certain addresses."""

    def __init__(self, places: tuple[str, ...], prefixes: tuple[bytes, ...]) -> None:
        self.socket = _messenger.socket(zmq.SUB, *places)
        for prefix in prefixes:
            self.socket.zmq.setsockopt(zmq.SUBSCRIBE, prefix)
        self.turn = threading.Lock()
        self.end = self.socket.close

    @classmethod
    def of(cls, address: str | Sequence[str], prefix: str | Sequence[str]) -> Subscriber:
        several = isinstance(address, Iterable) and not isinstance(address, str)
        places = tuple(addressbook.place_of(one) for one in (address if several else [address]))
        if not places:
            raise InvalidAddressError("no address is given: give one, or several in a list")
        prefixes = messages.encode_prefixes(prefix)
        return _messenger.get(("subscriber", places, prefixes), lambda: cls(places, prefixes))

    def receive(self, deadline: float | None, is_raw: bool) -> tuple[str, Any] | None:
        if not take_turn(self.turn, deadline):
            return None
        try:
            while (frames := self.socket.receive(deadline)) is not None:
                if (news := self.read(frames, is_raw)) is not None:
                    return news
            return None
        finally:
            self.turn.release()

    def read(self, frames: list[bytes], is_raw: bool) -> tuple[str, Any] | None:
        try:
            return messages.decode_news(frames, is_raw)
        except Foreign as error:
            logger.warning("something arrived that is no news, and was left out: %s", error)
            return None


class _Messenger:
    """All of this process's speakers, listeners, publishers and subscribers, by what they are for."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._context: zmq.Context[zmq.Socket[bytes]] | None = None
        self._all: dict[tuple[object, ...], Any] = {}

    def get(self, what: tuple[object, ...], make: Callable[[], T]) -> T:
        """The one that is for this, made if there is none yet."""
        found: T | None = self._all.get(what)
        if found is not None:
            return found
        with self._lock:
            if what not in self._all:
                self._all[what] = make()
            made: T = self._all[what]
            return made

    def socket(self, kind: int, *places: str) -> Socket:
        with self._lock:
            if self._context is None:
                self._context = zmq.Context()
        return Socket(self._context, kind, *places)

    def end(self) -> None:
        """The program ends: what it has sent still goes out, if that does not take long."""
        if self._context is None:
            return
        last_words = threading.Thread(target=self._context.term, daemon=True)
        last_words.start()  # who waits inside ZeroMQ hears of it, and closes its socket itself
        for one in self._all.values():
            one.end()
        last_words.join(config.LAST_WORDS_S)


def deadline_in(wait_s: float | None) -> float | None:
    """None: never."""
    return None if wait_s is None else time.monotonic() + wait_s


_messenger = _Messenger()


def _at_exit() -> None:
    _messenger.end()


def _after_fork() -> None:
    """The child has no sockets; its parent's stay the parent's."""
    global _messenger
    _messenger = _Messenger()


atexit.register(_at_exit)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
