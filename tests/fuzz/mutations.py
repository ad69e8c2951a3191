"""Mutations: a valid input made a little wrong, by its bytes or by its JSON.

Deterministic: the same `random` gives the same input.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from random import Random

MAX_BYTES = 2048
"""Of one input; longer than a datagram, and than the limits of limits.py."""
TOKEN = re.compile(rb'"(?:[^"\\\xff]|\\.)*"|-?[0-9][0-9.eE+-]*|true|false|null|[\[\]{}:,\xff]')
"""What JSON is made of, and the end of a script's step."""
WORDS = (
    *(b"0", b"-0", b"-1", b"1", b"0.5", b"1e-300", b"1e999", b"-1e999", b"1e22", b"NaN", b"Infinity", b"1" * 400),
    *(b"255", b"256", b"65535", b"65536", b"2147483648", b"9007199254740992", b"9007199254740993"),
    *(b"9223372036854775808", b"18446744073709551616", b"-9223372036854775809", b"1" * 1500),
    *(b"true", b"false", b"null", b"[]", b"{}", b'""', b'"x"', b'"all"', b'"a/b"', b'"ours"', b'"/"', b'"5"', b'"\\"'),
    *(b'":80"', b'":"', b'"."', b'"*"', b'"0.0.0.0:1"', b'"127.0.0.1:80"', b'"localhost:80"', b'"127.:"', b'"::1"'),
    *(b'"\\u0000"', b'"\\ud800"', b'"\\u2028"', b'"\x80"', '"\U0001f600"'.encode(), '"²"'.encode(), b'"a\\nb"'),
    *(
        b'"' + b"x" * 255 + b'"',
        b'"' + b"x" * 256 + b'"',
        b'":' + b"9" * 240 + b'"',
        b'"' + "é".encode() * 128 + b'"',
    ),
    *(b"[" * 200, b'{"a":' * 200, b"\n", b"\r\n", b"\xef\xbb\xbf", b"\xff", b"\x00", b"nw1[", b"\x00\x10"),
    *(
        b'"node-own"',
        b'"node-two"',
        b'"node-tre"',
        b'"uuid-1"',
        b'"action"',
        b'"type"',
        b'"do"',
        b'"key"',
        b":000065535999",
    ),
)
"""What decoders trip over."""


def mutate(data: bytes, random: Random, samples: Sequence[bytes] = ()) -> bytes:
    """One to a few changes; `samples` are what parts may be taken from."""
    for _ in range(1 + int(random.random() ** 3 * 6)):
        data = _CHANGES[int(random.random() * len(_CHANGES))](data, random, samples or (data,))
    return data[:MAX_BYTES]


def _place(data: bytes, random: Random) -> int:
    return int(random.random() * (len(data) + 1))


def _range(data: bytes, random: Random) -> tuple[int, int]:
    """Mostly short, sometimes to the end."""
    begin = _place(data, random)
    return begin, begin + int(random.random() ** 4 * (len(data) - begin)) + 1


def _flip(data: bytes, random: Random, _: Sequence[bytes]) -> bytes:
    if not data:
        return data
    place = int(random.random() * len(data))
    return data[:place] + bytes([data[place] ^ 1 << int(random.random() * 8)]) + data[place + 1 :]


def _set(data: bytes, random: Random, _: Sequence[bytes]) -> bytes:
    place = _place(data, random)
    return data[:place] + bytes([int(random.random() * 256)]) + data[place + 1 :]


def _insert(data: bytes, random: Random, _: Sequence[bytes]) -> bytes:
    place = _place(data, random)
    return data[:place] + _word(random) + data[place:]


def _delete(data: bytes, random: Random, _: Sequence[bytes]) -> bytes:
    begin, end = _range(data, random)
    return data[:begin] + data[end:]


def _cut(data: bytes, random: Random, _: Sequence[bytes]) -> bytes:
    return data[: _place(data, random)]


def _double(data: bytes, random: Random, _: Sequence[bytes]) -> bytes:
    begin, end = _range(data, random)
    return data[:end] + data[begin:end] * (1 + int(random.random() * 4)) + data[end:]


def _splice(data: bytes, random: Random, samples: Sequence[bytes]) -> bytes:
    other = samples[int(random.random() * len(samples))]
    return data[: _place(data, random)] + other[_place(other, random) :]


def _join(data: bytes, random: Random, samples: Sequence[bytes]) -> bytes:
    """Another script after this one, or another line."""
    between = (b"\xff", b"\n", b"")[int(random.random() * 3)]
    return data + between + samples[int(random.random() * len(samples))]


def _token(data: bytes, random: Random, _: Sequence[bytes]) -> bytes:
    """Another value in place of one."""
    tokens = [match.span() for match in TOKEN.finditer(data)]
    if not tokens:
        return data
    begin, end = tokens[int(random.random() * len(tokens))]
    return data[:begin] + _word(random) + data[end:]


def _swap(data: bytes, random: Random, _: Sequence[bytes]) -> bytes:
    """One of its values in the place of another."""
    tokens = [match.span() for match in TOKEN.finditer(data)]
    if not tokens:
        return data
    begin, end = tokens[int(random.random() * len(tokens))]
    other = tokens[int(random.random() * len(tokens))]
    return data[:begin] + data[slice(*other)] + data[end:]


def _number(data: bytes, random: Random, _: Sequence[bytes]) -> bytes:
    """A number near one that is there."""
    tokens = [match for match in TOKEN.finditer(data) if match[0].isdigit() and len(match[0]) < 20]
    if not tokens:
        return data
    match = tokens[int(random.random() * len(tokens))]
    return data[: match.start()] + b"%d" % (int(match[0]) + int(random.random() * 7) - 3) + data[match.end() :]


def _word(random: Random) -> bytes:
    return WORDS[int(random.random() * len(WORDS))]


_CHANGES: tuple[Callable[[bytes, Random, Sequence[bytes]], bytes], ...] = (
    *(_flip, _set, _insert, _delete, _cut, _double, _splice, _join, _token, _token, _swap, _number),
)
