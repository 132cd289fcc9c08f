from dataclasses import dataclass
from importlib.metadata import EntryPoint
from types import SimpleNamespace

import pytest
import torch
from typing_extensions import override

from auricle import registry
from auricle.errors import MissingDependencyError, OptionError, UnknownNameError
from auricle.pruning.base import Pruner


@dataclass(frozen=True)
class Mine(Pruner):
    """A pruner of another package."""

    pruning_rate: float = 0.5
    width: int = 3

    @override
    def keep(self, tokens, query, lm):
        return torch.arange(self.width)


@dataclass(frozen=True)
class Unregistered(Pruner):
    @override
    def keep(self, tokens, query, lm):
        return torch.arange(len(tokens))


@pytest.fixture
def plugin(monkeypatch):
    """Another package that brings `mine`, and a `full` of its own."""
    target = f"{__name__}:Mine"
    points = [
        EntryPoint("mine", target, "auricle.pruners"),
        EntryPoint("full", target, "auricle.pruners"),
        EntryPoint("broken", "no_such_package:Nothing", "auricle.pruners"),
    ]
    monkeypatch.setattr(registry, "entry_points", lambda group: [p for p in points if p.group == group])


@pytest.mark.parametrize("name", registry.PRUNERS)
def test_every_registered_pruner_exists_and_knows_its_name(name):
    made = registry.pruner(name, pruning_rate=0.25, seed=3)
    assert isinstance(made, Pruner)
    assert made.__dataclass_params__.frozen
    assert registry.pruner_name(made) == name
    assert getattr(made, "pruning_rate", 0.25) == 0.25
    assert getattr(made, "seed", 3) == 3


@pytest.mark.parametrize(
    ("given", "nearest"),
    [("speechprun", "speechprune"), ("SpeechPrune", "speechprune"), ("random", "random-crop"), ("FULL", "full")],
)
def test_an_unknown_name_gets_the_nearest_and_all_there_are(given, nearest):
    with pytest.raises(UnknownNameError) as caught:
        registry.pruner(given)
    message = str(caught.value)
    assert f"no pruner '{given}'" in message
    assert f"Did you mean '{nearest}'?" in message
    assert all(name in message for name in registry.PRUNERS)


def test_a_name_like_no_other_gets_no_suggestion():
    with pytest.raises(UnknownNameError) as caught:
        registry.pruner("xyzzy")
    assert "Did you mean" not in str(caught.value)


def test_another_package_adds_a_pruner_but_replaces_none(plugin):
    made = registry.pruner("mine", pruning_rate=0.1, width=7, seed=1)
    assert made == Mine(0.1, 7)
    assert registry.pruner_name(made) == "mine"
    assert registry.pruner_class("full") is not Mine
    assert registry.pruner_names() == [*registry.PRUNERS, "broken", "mine"]
    with pytest.raises(UnknownNameError, match="mine"):
        registry.pruner("min")


def test_a_broken_plugin_breaks_only_itself(plugin):
    registry.pruner("mine")
    with pytest.raises(MissingDependencyError, match="no_such_package"):
        registry.pruner("broken")


def test_a_pruner_that_nobody_registered_is_called_by_its_class():
    assert registry.pruner_name(Unregistered()) == "Unregistered"


def test_an_option_that_the_pruner_does_not_have_is_refused(plugin):
    with pytest.raises(OptionError, match="'mine' has no option height"):
        registry.pruner("mine", height=2)


def test_models_are_named_by_module_and_class():
    for target in registry.MODELS.values():
        module, _, attribute = target.partition(":")
        assert module.startswith("auricle.models.")
        assert attribute.isidentifier()


def test_find_imports_only_what_is_asked_for():
    table = {"namespace": "types:SimpleNamespace", "gone": "no_such_module:Gone"}
    assert registry.find("namespace", table, "thing", "auricle.things") is SimpleNamespace


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("searchlight:window=8,choices=false", {"window": 8.0, "choices": False, "threshold": 0.6}),
        ("searchlight: silence = keep , pruning_rate=0.5", {"silence": "keep", "pruning_rate": 0.5}),
        ("random-crop:seed=4", {"seed": 4, "pruning_rate": 0.2}),
        ("speechprune:", {"pruning_rate": 0.2}),
    ],
)
def test_options_behind_a_name(text, expected):
    made = registry.pruner(text, pruning_rate=0.2, seed=3)
    assert {name: getattr(made, name) for name in expected} == expected


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("searchlight:windw=8", "no option 'windw'; it has pruning_rate, window"),
        ("searchlight:window=wide", "window is 'wide'; expected a number such as 6.0"),
        ("searchlight:choices=1", "choices is '1'; expected true or false"),
        ("searchlight:window", "window is ''; expected a number"),
        ("random-crop:seed=0.5", "seed is '0.5'; expected a number such as 0"),
        ("fastv:layer=two", "layer is 'two'"),
    ],
)
def test_wrong_options_behind_a_name(text, words):
    with pytest.raises(OptionError, match=words):
        registry.pruner(text)
