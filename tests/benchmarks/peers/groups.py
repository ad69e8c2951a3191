"""The groups that growth.py asks for."""

from typing import Final

SMALL: Final = "small"
SMALL_MEMBERS: Final = 20
LARGE: Final = "large"
LARGE_MEMBERS: Final = 1000
