"""Kinds of fact: how they are said, how they are asked, and about what.

The kinds are data, `lexicon/facts.*.txt`, three lines each: `name | answer | groups of subjects`, `+` ways of
saying, `?` ways of asking. The slots are `{s}` and `{q}`, the subject as said and as asked, and `{a}`, the answer.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from random import Random

from auricle.errors import AuricleError
from auricle.training.grammar import Deck, Grammar, finish, lines, rules
from auricle.training.text import MAKERS

SPEAKER = "<speaker>"  # stands in a question for whoever says the fact
_CLUSTERS = (
    "person job org",
    "place spot",
    "clock date weekday month year",
    "reason cause",
    "color material quality",
)


@dataclass(frozen=True)
class Kind:
    """A kind of fact; `cluster` names the kinds of answer that one question word asks for."""

    name: str
    answer: str
    groups: tuple[str, ...]
    say: tuple[str, ...]
    ask: tuple[str, ...]

    @property
    def cluster(self) -> str:
        """Kinds of one cluster and subject could both answer a question."""
        return next((cluster for cluster in _CLUSTERS if self.answer in cluster.split()), self.answer)


@dataclass(frozen=True)
class Subject:
    """What a fact is about, in the words of the talk and in those of the question."""

    group: str
    template: str
    said: str
    asked: str


@dataclass(frozen=True)
class Fact:
    """A fact that is said: `clause` holds `value`, and nothing else than `value` answers `question`."""

    kind: Kind
    subject: Subject
    value: str
    clause: str
    question: str


@cache
def kinds() -> tuple[Kind, ...]:
    """All kinds of fact."""
    entries = iter(lines("facts"))
    found = []
    for head, said, asked in zip(entries, entries, entries, strict=True):
        name, answer, groups = (part.strip() for part in head.split("|"))
        say = tuple(part.strip() for part in said.removeprefix("+").split(" / "))
        ask = tuple(part.strip() for part in asked.removeprefix("?").split(" / "))
        found.append(Kind(name, answer, tuple(groups.split(",")), say, ask))
    return tuple(found)


@cache
def kinds_by_answer() -> dict[str, tuple[Kind, ...]]:
    """The kinds of fact that share a kind of answer."""
    found: dict[str, list[Kind]] = defaultdict(list)
    for kind in kinds():
        found[kind.answer].append(kind)
    return {answer: tuple(same) for answer, same in found.items()}


class FactMaker:
    """Invents facts; subjects and ways of saying come up equally often."""

    def __init__(self) -> None:
        phrases = {**rules("phrases"), **rules("answers"), **rules("leads"), **rules("filler")}
        makers = {**MAKERS, "extra": Deck(lines("rare")).draw, "speaker": lambda _: SPEAKER}
        self.grammar = Grammar(phrases, makers)
        self._subjects = {group: Deck(templates) for group, templates in rules("subjects").items()}
        self._say = {kind.name: Deck(kind.say) for kind in kinds()}
        self._ask = {kind.name: Deck(kind.ask) for kind in kinds()}

    def subject(self, group: str, rng: Random, template: str = "") -> Subject:
        """A new subject of a group, of the given template or any."""
        template = template or self._subjects[group].draw(rng)
        said, _, asked = self.grammar.fill_same(template, rng).partition(" | ")
        return Subject(group, template, said, asked)

    def first_person(self) -> Subject:
        """Whoever speaks."""
        return Subject("person", "I", "I", SPEAKER)

    def value(self, kind: Kind, rng: Random, taken: Sequence[str] = ()) -> str:
        """A new answer that is no part of a taken one, nor the other way round."""
        for _ in range(1000):
            value = self.grammar.fill(f"{{a.{kind.answer}}}", rng)
            if len(value.split()) <= 7 and not any(overlaps(value, other) for other in taken):
                return value
        raise AuricleError(
            f"no new answer of the kind {kind.answer!r}: {len(taken)} are taken, add more to answers.txt"
        )

    def fact(self, kind: Kind, subject: Subject, value: str, rng: Random) -> Fact:
        """The fact that the subject has this value, with its question."""
        say = self._say[kind.name].draw(rng)
        while subject.said == "I" and not say.startswith("{s} "):
            say = self._say[kind.name].draw(rng)
        clause = self.grammar.fill(say, rng, {"s": subject.said, "a": value})
        ask = self._ask[kind.name].draw(rng)
        return Fact(kind, subject, value, clause, finish(self.grammar.fill(ask, rng, {"q": subject.asked}) + "?"))


def overlaps(one: str, other: str) -> bool:
    """Whether the words of one answer stand in the other."""
    first, second = (f" {text.lower().replace('-', ' ')} " for text in (one, other))
    return first in second or second in first
