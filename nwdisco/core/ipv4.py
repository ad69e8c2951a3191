"""IPv4 addresses as text."""

from __future__ import annotations


def is_ipv4(text: str) -> bool:
    parts = text.split(".")
    return len(parts) == 4 and all(is_octet(part) for part in parts)


def is_octet(text: str) -> bool:
    """A leading zero is none: some systems take such a number for octal."""
    return text.isascii() and text.isdigit() and len(text) <= 3 and int(text) < 256 and str(int(text)) == text
