"""What is spread over workers comes back once each, whatever dies, and errors as they are."""

import os
import signal
import sys
import time
from concurrent.futures.process import BrokenProcessPool

import pytest

from auricle.cluster import _shares, on_ray
from auricle.errors import DataError, MissingDependencyError, OptionError, WeightsError


def times_two(parts):
    """A worker that is made ready once; of what it is told to, it dies or fails."""
    made = os.getpid()

    def work(item):
        number, what, folder = item
        if what == "die" or (what == "die once" and not (folder / "died").exists()):
            (folder / "died").touch()
            os.kill(os.getpid(), signal.SIGKILL)
        if what == "fail":
            raise DataError("This one cannot be done.")
        with (folder / "begun").open("a") as begun:
            begun.write(f"{number}\n")
        return number * 2, made, os.getpid(), parts

    return work


def no_weights(parts):
    raise WeightsError("There are no weights.")


def test_a_worker_that_is_killed_loses_and_doubles_nothing(cluster, tmp_path, capfd):
    items = [(number, "die once" if number == 3 else "", tmp_path) for number in range(8)]
    results = list(on_ray(times_two, items, 2, cluster))
    assert (tmp_path / "died").exists()
    assert sorted(number for number, *_ in results) == list(range(0, 16, 2))
    assert all(made == pid for _, made, pid, _ in results)  # made ready where it works
    assert len({pid for *_, pid, _ in results}) >= 2
    assert {parts for *_, parts in results} == {os.cpu_count()}  # a core of this machine each
    assert capfd.readouterr() == ("", "")


def test_a_worker_that_dies_of_an_item_is_not_tried_for_ever(cluster, tmp_path):
    with pytest.raises(BrokenProcessPool, match="died 3 times"):
        list(on_ray(times_two, [(0, "die", tmp_path)], 1, cluster))


def test_errors_come_as_they_are_and_nothing_more_is_begun(cluster, tmp_path):
    items = [(number, "fail" if number == 1 else "", tmp_path) for number in range(30)]
    with pytest.raises(DataError, match=r"^This one cannot be done\.$"):
        list(on_ray(times_two, items, 1, cluster))
    time.sleep(0.2)
    assert (tmp_path / "begun").read_text() == "0\n"
    with pytest.raises(WeightsError, match="no weights"):
        list(on_ray(no_weights, items, 1, cluster))


def test_a_machine_that_lacks_the_package(cluster, tmp_path, monkeypatch):
    (tmp_path / "only_here.py").write_text("def prepare(parts):\n    return str\n")
    monkeypatch.syspath_prepend(tmp_path)
    import only_here

    with pytest.raises(OptionError, match=r"cannot begin .*No module named 'only_here'.*same packages"):
        list(on_ray(only_here.prepare, [0], 1, cluster))


def test_more_workers_than_the_cluster_has_cores(cluster, tmp_path):
    with pytest.raises(OptionError, match="processes is 3, but the Ray cluster has 2 cores"):
        list(on_ray(times_two, [(0, "", tmp_path)], 3, cluster))


@pytest.mark.parametrize(
    ("address", "message"),
    [("localhost:1", "Nobody listens at 'localhost:1'"), ("here", "Nobody listens"), ("auto", "cannot be joined")],
)
def test_a_cluster_that_is_not_there(address, message, monkeypatch):
    pytest.importorskip("ray", reason="needs the extra 'ray'")
    monkeypatch.setenv("RAY_ADDRESS", "no address")  # auto would find the cluster of the other tests
    with pytest.raises(OptionError, match=message):
        list(on_ray(times_two, [], 1, address))


def test_without_ray(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(MissingDependencyError, match=r"install auricle\[ray\]"):
        list(on_ray(times_two, [], 1, "local"))
    with pytest.raises(OptionError, match="processes is 0"):
        list(on_ray(times_two, [], 0, "local"))


def node(cpus, cards=0, alive=True):
    return {"Alive": alive, "Resources": {"CPU": float(cpus), "GPU": float(cards)}}


@pytest.mark.parametrize(
    ("nodes", "processes", "gpu", "shares"),
    [
        ([node(8)], 1, False, (8, 0)),
        ([node(8)], 3, False, (2, 0)),
        ([node(8), node(8)], 1, False, (8, 0)),
        ([node(8), node(8)], 3, False, (4, 0)),  # five each would leave no place for the third
        ([node(8), node(3), node(64, alive=False)], 3, False, (3, 0)),
        ([node(0), node(4, 2)], 2, True, (2, 1)),
        ([node(64), node(4, 2)], 2, True, (2, 1)),  # the first has no card
        ([node(16, 1)], 4, True, (4, 1 / 4)),
        ([node(16, 3)], 4, True, (4, 1 / 2)),  # with three quarters of one each, the fourth would find no place
    ],
)
def test_what_a_worker_has(nodes, processes, gpu, shares):
    assert _shares(nodes, processes, gpu) == shares


@pytest.mark.parametrize(
    ("nodes", "gpu", "message"),
    [([node(1), node(1)], False, "has 2 cores"), ([], False, "has 0 cores"), ([node(8)], True, "no graphics card")],
)
def test_a_cluster_that_is_too_small(nodes, gpu, message):
    with pytest.raises(OptionError, match=message):
        _shares(nodes, 3, gpu)
