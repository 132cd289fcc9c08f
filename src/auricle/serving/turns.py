"""Who is in work and who waits."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from auricle.serving.failures import ApiError


class Turns:
    """A bounded queue: first come, first served; whoever leaves while waiting is never in work."""

    def __init__(self, places: int, queue: int) -> None:
        """Args: `places` are in work at a time, `queue` wait at most."""
        self._places = asyncio.Semaphore(places)
        self._queue = queue
        self.waiting = 0

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """Waits for a place and holds it while the block runs.

        Raises:
            ApiError: 429, too many wait already.
        """
        if self._places.locked() and self.waiting >= self._queue:
            raise ApiError(
                429,
                f"{self.waiting} requests wait already; try again later.",
                "queue_full",
                headers={"Retry-After": "5"},
            )
        self.waiting += 1
        try:
            await self._places.acquire()
        finally:
            self.waiting -= 1
        try:
            yield
        finally:
            self._places.release()
