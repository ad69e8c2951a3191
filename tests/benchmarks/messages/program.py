"""The programs that talk: `python -m tests.benchmarks.messages.program WAY ROLE ...`.

What they say is a line of JSON each, on standard output; what they are told, a line on standard input. Times are of the
monotonic clock, which all processes of a machine share.

    listen IP PORT               says its address, answers for ever
    ask ADDRESS                  told seconds, asks for so long and says its figures; told again, asks again
    publish IP PORT NEWS         says its address and greets all until it is told to go; says when it began and was done
    subscribe ADDRESS NEWS       says that it hears, then what it has heard, up to the last news or a silence
"""

from __future__ import annotations

import json
import math
import os
import select
import sys
import time
from collections.abc import Callable
from typing import Any, Final

from .ways import MESSAGE, Way, way

GREETING, NEWS = "greeting", "news"
GREET_EVERY_S: Final = 0.05
SILENCE_S: Final = 3.0
"""Who hears nothing for so long after the first news has heard all that there is."""
WAIT_LIMIT_S: Final = 30.0


def listen(talk: Way, ip: str, port: str) -> None:
    address = talk.open(ip, int(port))
    _say(address=address)
    talk.answer_all(address)


def ask(talk: Way, address: str) -> None:
    talk.find(address)
    _say(found=address)
    for line in sys.stdin:
        _say(**_asked(talk, address, float(line)))


def _asked(talk: Way, address: str, seconds: float) -> dict[str, Any]:
    """The figures of a stint: one question after the other."""
    if talk.ask(address, MESSAGE) != MESSAGE:
        raise ValueError("the answer is not the message")
    clock, took_s = time.perf_counter, []
    cpu_s = time.process_time()
    began = before = clock()
    while before - began < seconds:
        talk.ask(address, MESSAGE)
        now = clock()
        took_s.append(now - before)
        before = now
    cpu_s = time.process_time() - cpu_s
    took_s.sort()
    count = len(took_s)
    p50_s, p99_s = (took_s[math.ceil(share * count) - 1] for share in (0.5, 0.99))
    return {"p50_s": p50_s, "p99_s": p99_s, "rate": count / (before - began), "cpu_s": cpu_s / count}


def publish(talk: Way, ip: str, port: str, count: str) -> None:
    address = talk.open(ip, int(port))
    _say(address=address)
    while not select.select([sys.stdin], [], [], GREET_EVERY_S)[0]:
        talk.publish(address, GREETING, None)
    began_at = time.monotonic()
    for number in range(int(count)):
        talk.publish(address, NEWS, {"number": number, "what": "temperature", "is": 21.5})
    _say(began_at=began_at, done_at=time.monotonic())
    sys.stdin.read()


def subscribe(talk: Way, address: str, count: str) -> None:
    topic, until = "", time.monotonic() + WAIT_LIMIT_S
    while topic != GREETING:
        if time.monotonic() > until:
            raise TimeoutError(address)
        topic, _ = talk.hear(address, SILENCE_S) or ("", None)
    _say(hears=address)
    last, expected, heard, ended_at = int(count) - 1, 0, 0, 0.0
    in_order = True
    while time.monotonic() < until:
        news = talk.hear(address, SILENCE_S)
        if news is None and heard:
            break
        if news is None or news[0] != NEWS:
            continue
        number = news[1]["number"]
        in_order = in_order and number >= expected
        heard, expected, ended_at = heard + 1, number + 1, time.monotonic()
        until = ended_at + WAIT_LIMIT_S
        if number == last:
            break
    _say(heard=heard, in_order=in_order, ended_at=ended_at)


def _say(**fields: Any) -> None:
    print(json.dumps(fields), flush=True)


def main() -> None:
    name, role, *arguments = sys.argv[1:]
    roles: dict[str, Callable[..., None]] = {
        "listen": listen,
        "ask": ask,
        "publish": publish,
        "subscribe": subscribe,
    }
    roles[role](way(name), *arguments)
    os._exit(0)  # some take seconds to close, which nobody measures


if __name__ == "__main__":
    main()
