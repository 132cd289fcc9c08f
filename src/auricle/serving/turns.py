"""Who is in work and who waits."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from math import ceil
from statistics import fmean
from time import monotonic

from auricle.serving.failures import ApiError

RECENT = 16  # requests whose time in work is remembered
FIRST_GUESS = 5.0  # seconds in work, where nobody has been yet
LONGEST_WAIT = 300  # seconds that a client is told to wait


class Turns:
    """A bounded queue: first come, first served; whoever leaves while waiting is never in work."""

    def __init__(self, places: int, queue: int) -> None:
        """Args: `places` are in work at a time, `queue` wait at most."""
        self._free = asyncio.Semaphore(places)
        self._places = places
        self._queue = queue
        self._seconds = deque([FIRST_GUESS], RECENT)
        self.waiting = 0

    @property
    def wait(self) -> int:
        """Seconds until all who are in work or wait will be done, by what recent requests took; at least one."""
        seconds = (self.waiting + 1) * fmean(self._seconds) / self._places
        return min(ceil(max(seconds, 1)), LONGEST_WAIT)

    def check(self) -> None:
        """Whether one more may wait, to be asked before anything is done for them.

        Raises:
            ApiError: 429, too many wait already.
        """
        if self._free.locked() and self.waiting >= self._queue:
            raise ApiError(
                429,
                f"{self.waiting} requests wait already; try again in {self.wait} s.",
                "queue_full",
                headers={"Retry-After": str(self.wait)},
            )

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """Waits for a place and holds it while the block runs.

        Raises:
            ApiError: as `check`.
        """
        self.check()
        self.waiting += 1
        try:
            await self._free.acquire()
        finally:
            self.waiting -= 1
        start = monotonic()
        try:
            yield
        finally:
            self._seconds.append(monotonic() - start)
            self._free.release()
