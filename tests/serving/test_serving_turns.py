"""How long who is refused is told to wait."""

import asyncio

import pytest

from auricle.serving import turns
from auricle.serving.failures import ApiError
from auricle.serving.turns import Turns


async def refusal(queue, *took, clock, waiting=2):
    """What is told behind requests that took so many seconds in work, while some wait."""
    for seconds in took:
        async with queue.turn():
            clock[0] += seconds
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(_stay(queue)) for _ in range(queue._places + waiting)]
        await asyncio.sleep(0)
        assert queue.waiting == waiting
        with pytest.raises(ApiError) as refused:
            async with queue.turn():
                pass
        for task in tasks:
            task.cancel()
    assert queue.waiting == 0
    return refused.value


async def _stay(queue):
    async with queue.turn():
        await asyncio.Event().wait()


@pytest.mark.parametrize(
    ("places", "took", "expected"),
    [
        (1, [], 15),  # the guess, for one in work and two behind
        (1, [7.0] * 16, 21),
        (4, [7.0] * 16, 6),  # 5.25, rounded up
        (1, [600.0] * 20 + [10.0] * 16, 30),  # what was long ago is forgotten
        (1, [11.0], 24),  # the mean with the guess
        (1, [0.01] * 16, 1),
        (1, [1000.0] * 16, 300),
    ],
)
def test_it_follows_the_queue_and_recent_work(monkeypatch, places, took, expected):
    clock = [100.0]
    monkeypatch.setattr(turns, "monotonic", lambda: clock[0])
    refused = asyncio.run(refusal(Turns(places, 2), *took, clock=clock))
    assert (refused.status_code, refused.code) == (429, "queue_full")
    assert refused.response().headers["retry-after"] == str(expected)
    assert f"try again in {expected} s" in refused.message


def test_without_a_queue_it_is_that_of_one_request(monkeypatch):
    clock = [0.0]
    monkeypatch.setattr(turns, "monotonic", lambda: clock[0])
    refused = asyncio.run(refusal(Turns(1, 0), *[9.0] * 16, clock=clock, waiting=0))
    assert refused.headers == {"Retry-After": "9"}
