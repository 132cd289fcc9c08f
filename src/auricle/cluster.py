"""Work for a Ray cluster: many recordings on one machine or on several.

Each worker is an actor that is made ready once and then does one item at a time. An item whose worker dies is done
again by a new worker, and its result comes back once. Ray Data would do so, too; but it begins a worker that dies
of the same item again for ever, passes an error on as a text, and wants results as tables. Ray's own restarts of
an actor are not used: while a lost machine is not known to be lost, all tries are spent within a second.
"""

import logging
import os
import socket
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, suppress
from itertools import islice
from math import ceil
from pathlib import Path
from types import ModuleType
from typing import Any, Generic, TypeVar

from auricle.errors import MissingDependencyError, OptionError

Item = TypeVar("Item")
Result = TypeVar("Result")

LOCAL, AUTO = "local", "auto"
_TRIES = 3  # of an item whose worker dies
_KNOCK_SECONDS = 10.0
_STORE = 256 * 1024**2  # bytes of the object store: an item a worker, results are small
# What Ray prints and reports on its own, and that it hides the graphics cards from who asked for none.
_QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
}


def on_ray(
    prepare: Callable[[int], Callable[[Item], Result]],
    items: Iterable[Item],
    processes: int,
    address: str,
    *,
    gpu: bool = False,
) -> Generator[Result]:
    """Does the work on all items; yields what comes of each as it is done.

    After an error no item is begun, and those that were are given up.

    Args:
        prepare: makes the work, once in every worker; it is told how many workers share a machine.
        items: each is taken when a worker is free for it.
        processes: how many workers.
        address: "local" starts a cluster on this machine that ends with the work; "auto" joins the one that this
            machine belongs to, and HOST:PORT another one. Its machines need the same packages and files.
        gpu: whether a worker needs a graphics card; where they are fewer than workers, they are shared.

    Raises:
        OptionError: there is no such cluster, it is too small, or a machine lacks the package.
        MissingDependencyError: ray is not installed.
        BrokenProcessPool: workers died again and again of one item.
        Exception: whatever the work raises.
    """
    if processes < 1:
        raise OptionError(f"processes is {processes}; expected at least 1.")
    with _joined(address, processes) as ray:
        cores, share = _shares(ray.nodes(), processes, gpu)
        actor = ray.remote(_Worker).options(num_cpus=cores, num_gpus=share)
        waiting = iter(items)
        running: dict[Any, tuple[Any, Item, int]] = {}

        def begin(worker: Any, item: Item, tries: int) -> None:  # noqa: ANN401 - of a class that Ray makes
            worker = worker or actor.remote(prepare, Path.cwd(), cores)
            running[worker.work.remote(item)] = worker, item, tries

        for item in islice(waiting, processes):
            begin(None, item, 1)
        while running:
            (done,), _ = ray.wait(list(running))
            worker, item, tries = running.pop(done)
            try:
                result = _result(ray, done)
            except BrokenProcessPool:
                if tries == _TRIES:
                    raise
                begin(None, item, tries + 1)
                continue
            for item in islice(waiting, 1):
                begin(worker, item, 1)
            del worker  # one that is not needed any more makes place for the successor of another
            yield result


def _result(ray: ModuleType, done: object) -> Any:  # noqa: ANN401 - whatever the work makes
    try:
        return ray.get(done)
    except ray.exceptions.RayTaskError as error:
        raise error.cause from error
    except ray.exceptions.RayError as error:
        if getattr(error, "actor_init_failed", False):
            reason = str(error).strip().splitlines()[-1]
            raise OptionError(
                f"A machine of the Ray cluster cannot begin ({reason}); install the same packages on each."
            ) from error
        raise BrokenProcessPool(f"A worker died {_TRIES} times of one item.") from error


class _Worker(Generic[Item, Result]):
    """Lives in a process of the cluster."""

    def __init__(self, prepare: Callable[[int], Callable[[Item], Result]], folder: Path, cores: int) -> None:
        self._prepare, self._cores = prepare, cores
        self._work: Callable[[Item], Result] | None = None
        with suppress(OSError):  # relative paths mean here what they mean there, where there is that folder
            os.chdir(folder)

    def work(self, item: Item) -> Result:
        """Does one; the first one waits until the worker is ready, so that what goes wrong is told as it is."""
        if self._work is None:
            self._work = self._prepare(max(1, (os.cpu_count() or 1) // self._cores))
        return self._work(item)


@contextmanager
def _joined(address: str, processes: int) -> Iterator[ModuleType]:
    """Ray, connected, for as long as the block runs; it says nothing on the terminal."""
    for name, value in _QUIET.items():
        os.environ.setdefault(name, value)
    try:
        import ray
        from ray._private import worker as messages
    except ImportError as error:
        raise MissingDependencyError("ray is not installed; install auricle[ray].") from error
    options: dict[str, Any] = {"address": address}
    if address not in (LOCAL, AUTO):
        _knock(address)
    if address == LOCAL:
        cores = max(os.cpu_count() or 1, processes)
        options |= {"num_cpus": cores, "object_store_memory": _STORE, "include_dashboard": False}
    messages._worker_logs_enabled = False  # of workers that die, on stdout; there is no option for it
    try:
        _join(ray, options)
        try:
            yield ray
        finally:
            ray.shutdown()
    finally:
        messages._worker_logs_enabled = True


def _join(ray: ModuleType, options: dict[str, Any]) -> None:
    try:
        ray.init(**options, log_to_driver=False, logging_level=logging.CRITICAL)
    except (ConnectionError, RuntimeError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise OptionError(
            f"The Ray cluster '{options['address']}' cannot be joined ({reason[:200]}); start one with"
            " 'ray start --head', or give local."
        ) from error


def _knock(address: str) -> None:
    """Looks whether somebody listens there, for which Ray itself would wait for minutes.

    Raises:
        OptionError: nobody does, or it is no HOST:PORT.
    """
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host, int(port)), _KNOCK_SECONDS).close()
    except (OSError, ValueError, OverflowError) as error:
        raise OptionError(
            f"Nobody listens at '{address}' ({error}); give local, auto, or the HOST:PORT of 'ray start --head'."
        ) from error


def _shares(nodes: Iterable[dict[str, Any]], processes: int, gpu: bool) -> tuple[int, float]:
    """Cores and graphics cards of each worker: as many as all can have.

    Raises:
        OptionError: the cluster has too few.
    """
    there = [node["Resources"] for node in nodes if node["Alive"]]
    cards = int(sum(each.get("GPU", 0) for each in there))
    if gpu and not cards:
        raise OptionError("The Ray cluster has no graphics card; leave --device out, or join another one.")
    at_one = ceil(processes / cards) if gpu else 0  # workers that share a card
    counts = [int(each.get("CPU", 0)) for each in there]
    places = [int(each.get("GPU", 0)) * at_one if gpu else processes for each in there]
    for cores in range(max(counts, default=0), 0, -1):
        if sum(min(count // cores, most) for count, most in zip(counts, places, strict=True)) >= processes:
            return cores, 1 / at_one if gpu else 0.0
    raise OptionError(
        f"processes is {processes}, but the Ray cluster has {sum(counts)} cores; give at most as many."
    )
