"""A program that calls nwdisco's verbs as lines on its standard input tell it: [verb, args, kwargs]; answers are JSON lines."""

from __future__ import annotations

import json
import logging
import os
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nwdisco as nw0

watches: list[nw0.Watch] = []


def watch(group: str | None = None, **options: Any) -> None:
    watches.append(nw0.watch(group, **options))


def next_event() -> list[Any] | None:
    event = next(watches[0], None)
    return event and [event.kind, event.name, event.address]


def discover_timed(name: str, wait_for_s: float) -> tuple[str | None, float]:
    """The address and when it was there, on the clock that all processes of the machine share."""
    return nw0.discover(name, wait_for_s), time.monotonic()


def advertise_timed(name: str) -> tuple[str, float]:
    began_at = time.monotonic()
    return nw0.advertise(name), began_at


def discover_in_threads(name: str, threads: int, wait_for_s: float) -> list[str | None]:
    found: list[str | None] = []
    waiting = [threading.Thread(target=lambda: found.append(nw0.discover(name, wait_for_s))) for _ in range(threads)]
    for thread in waiting:
        thread.start()
    for thread in waiting:
        thread.join()
    return found


def fork_and_advertise(name: str) -> int:
    """A child that advertises for itself and stays; its process id."""
    ready, report = os.pipe()
    pid = os.fork()
    if pid == 0:
        nw0.advertise(name)
        os.write(report, b"1")
        threading.Event().wait()
    os.read(ready, 1)
    return pid


def fork_and_exit() -> int:
    """A child that exits in the ordinary way, with all its exit handlers; its exit status."""
    pid = os.fork()
    if pid == 0:
        sys.exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def reap(pid: int) -> None:
    os.waitpid(pid, 0)


def _in_child(name: str, ready: Any, over: Any) -> None:
    nw0.advertise(name)
    ready.set()
    over.wait()


def multiprocess(name: str) -> None:
    """A child by multiprocessing that advertises for itself; gone with `end_multiprocess`."""
    import multiprocessing

    context = multiprocessing.get_context("fork")
    ready, over = context.Event(), context.Event()
    child = context.Process(target=_in_child, args=(name, ready, over))
    child.start()
    ready.wait()
    children.append((child, over))


def end_multiprocess() -> None:
    child, over = children.pop()
    over.set()
    child.join()


def open_file_descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


children: list[Any] = []


# --- messages and news ------------------------------------------------------------------------------------


def asleep(pid: int, where: str, thread: int | None = None) -> bool:
    """Whether a thread (the main one) waits in the kernel: in "poll" for something to arrive, in "futex" for a lock."""
    return where in Path(f"/proc/{pid}/task/{thread or pid}/wchan").read_text()


def until_asleep(thread: threading.Thread) -> None:
    """Until another thread of this program waits for something to arrive."""
    end = time.monotonic() + 20
    while not (thread.native_id and asleep(os.getpid(), "poll", thread.native_id)):
        assert time.monotonic() < end, "the thread does not wait"
        time.sleep(0.005)


def later(verb: str) -> Callable[..., Any]:
    """A verb of the messenger, which is imported with its first use."""
    return lambda *args, **kwargs: getattr(nw0, verb)(*args, **kwargs)


def together(threads: int, work: Callable[[int], Any]) -> list[Any]:
    """What the work gave in so many threads at once; an error counts as its text."""
    results: list[Any] = [None] * threads
    begin = threading.Barrier(threads)

    def run(number: int) -> None:
        begin.wait()
        try:
            results[number] = work(number)
        except Exception as error:
            results[number] = f"{type(error).__name__}: {error}"

    running = [threading.Thread(target=run, args=(number,), daemon=True) for number in range(threads)]
    for thread in running:
        thread.start()
    for thread in running:
        thread.join()
    return results


def echo(address: str, messages: int, wait_for_s: float = 20) -> int:
    """Answer so many messages with themselves; how many came."""
    for number in range(messages):
        message = nw0.wait_for_message_from(address, wait_for_s)
        if message is None:
            return number
        nw0.send_reply_to(address, message)
    return messages


def echo_in_threads(address: str, threads: int, messages: int) -> list[Any]:
    """In each thread the answers to so many messages."""
    return together(threads, lambda _: echo(address, messages))


def ask_in_threads(address: str, threads: int, messages: int) -> list[Any]:
    """In each thread so many messages, each unlike all others; what was not answered with itself."""

    def ask(thread: int) -> list[Any]:
        asked = [[thread, number] for number in range(messages)]
        return [[a, reply] for a in asked if (reply := nw0.send_message_to(address, a, 20)) != a]

    return together(threads, ask)


def reply_while_waiting(address: str) -> list[Any]:
    """Two messages; the first is answered while another thread waits for the second already."""
    first = nw0.wait_for_message_from(address, 20)
    second: list[Any] = []
    waiting = threading.Thread(target=lambda: second.append(nw0.wait_for_message_from(address, 20, autoreply=True)))
    waiting.start()
    until_asleep(waiting)
    nw0.send_reply_to(address, "the reply")
    waiting.join()
    return [first, *second]


def interrupted(verb: str, *args: Any) -> list[Any]:
    """What Ctrl-C ends the call with: the class, and whether NetworkZero's programs catch it by its root."""
    try:
        return ["not interrupted", VERBS[verb](*args)]
    except KeyboardInterrupt as error:
        return [type(error).__name__, isinstance(error, nw0.NetworkZeroError)]


def publish(address: str, topic: str, numbers: int, padding: int = 0) -> float:
    """Send numbers as news; how long the longest call took."""
    longest_s = 0.0
    for number in range(numbers):
        began_at = time.monotonic()
        nw0.send_news_to(address, topic, [number, "." * padding])
        longest_s = max(longest_s, time.monotonic() - began_at)
    return longest_s


def publish_in_threads(address: str, threads: int, numbers: int) -> list[Any]:
    """In each thread numbers as news, each with its thread's topic."""
    return together(threads, lambda thread: bool(publish(address, f"thread {thread}", numbers)))


def collect_news(address: str | list[str], prefix: str | list[str], most: int, wait_for_s: float = 20) -> list[Any]:
    """So many news, as [topic, data]; fewer if one does not come in time."""
    news: list[Any] = []
    while len(news) < most:
        topic, data = nw0.wait_for_news_from(address, prefix, wait_for_s)
        if topic is None:
            break
        news.append([topic, data[0] if isinstance(data, list) else data])
    return news


def collect_news_in_threads(address: str, threads: int, most: int) -> list[Any]:
    """In each thread so many news."""
    return together(threads, lambda _: collect_news(address, "", most))


def fork_and_ask(address: str, message: Any) -> list[Any]:
    """A child that asks and then exits in the ordinary way: the reply it got, its exit status."""
    out, report = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(out)
        try:
            said = repr(nw0.send_message_to(address, message, 20))
        except Exception as error:
            said = f"{type(error).__name__}: {error}"
        os.write(report, said.encode())
        sys.exit(0)
    os.close(report)
    with open(out) as answer:
        said = answer.read()
    return [said, os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])]


def echo_in_background(address: str, messages: int) -> None:
    """`echo` in a thread, for which the program would not stay."""
    nw0.wait_for_message_from(address, 0)  # so that it waits for nothing but messages
    thread = threading.Thread(target=echo, args=(address, messages), daemon=True)
    thread.start()
    until_asleep(thread)


log: list[str] = []


class _Log(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        log.append(f"{record.levelname} {record.getMessage()}")


def keep_log() -> None:
    """From now on `read_log` gives what the program logs."""
    logging.getLogger("nwdisco").addHandler(_Log())


def read_log() -> list[str]:
    return list(log)


def most_memory() -> int:
    """Bytes that this program has had in memory at most."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))


def size_of_message(address: str) -> int:
    """The length of the next message, which is text and answered with itself."""
    text: str = nw0.wait_for_message_from(address, 20)
    nw0.send_reply_to(address, text)
    return len(text)


def say(verb: str, address: str, size: int, *topic: str) -> int:
    """Send a text of so many letters; the length of the reply, if there is one."""
    reply = VERBS[verb](address, *topic, "x" * size)
    return len(reply or "")


MESSENGER = (
    "send_message_to",
    "wait_for_message_from",
    "send_reply_to",
    "send_news_to",
    "wait_for_news_from",
    "address",
)

VERBS: dict[str, Any] = {
    "advertise": nw0.advertise,
    "unadvertise": nw0.unadvertise,
    "discover": nw0.discover,
    "discover_all": nw0.discover_all,
    "discover_group": nw0.discover_group,
    **{
        verb.__name__: verb
        for verb in (
            watch,
            next_event,
            discover_timed,
            advertise_timed,
            discover_in_threads,
            fork_and_advertise,
            fork_and_exit,
            reap,
            multiprocess,
            end_multiprocess,
            open_file_descriptors,
            echo,
            echo_in_threads,
            ask_in_threads,
            reply_while_waiting,
            interrupted,
            publish,
            publish_in_threads,
            collect_news,
            collect_news_in_threads,
            fork_and_ask,
            echo_in_background,
            keep_log,
            read_log,
            most_memory,
            size_of_message,
            say,
        )
    },
    **{verb: later(verb) for verb in MESSENGER},
}


def main() -> None:
    print(json.dumps({"pid": os.getpid()}), flush=True)
    for line in sys.stdin:
        verb, args, kwargs = json.loads(line)
        answer: dict[str, Any]
        try:
            answer = {"value": VERBS[verb](*args, **kwargs)}
        except Exception as error:
            answer = {"error": type(error).__name__, "message": str(error)}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
