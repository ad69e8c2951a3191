"""A budget: so many a second, a second's worth at once."""


class Budget:
    def __init__(self, per_s: float, now: float) -> None:
        self._per_s = per_s
        self._left = per_s
        self._at = now

    def take(self, now: float) -> bool:
        """Spend one; False when there is none left."""
        self._left = min(self._per_s, self._left + (now - self._at) * self._per_s)
        self._at = now
        if self._left < 1:
            return False
        self._left -= 1
        return True
