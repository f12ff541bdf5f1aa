"""How far a long work is, as lines."""

from __future__ import annotations

import time

from kdhub.api import duration
from kdret.log import tell

_PAUSE_SECONDS = 10.0


class Progress:
    """Tells every ten seconds what is done, how fast, and the time left.

    Args:
        what: What is done, as a participle: ``'encoded'``.
        total: How many documents there are.
        done: How many were done before.
    """

    def __init__(self, what: str, total: int, done: int = 0) -> None:
        self._what, self._total, self._before = what, total, done
        self._started = self._shown = time.monotonic()

    def reach(self, done: int) -> None:
        """Say how many documents are done by now."""
        now = time.monotonic()
        if now - self._shown < _PAUSE_SECONDS or done >= self._total:
            return
        self._shown = now
        speed = max(done - self._before, 1) / (now - self._started)
        left = duration((self._total - done) / speed)
        tell(f"{self._what} {done} of {self._total} documents, {speed:.3g} a second, {left} left")
