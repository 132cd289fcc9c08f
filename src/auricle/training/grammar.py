"""A small grammar: templates with slots, filled from lexicons, phrase rules and makers of numbers and names.

A slot is `{name}` or `{name|form}`. A name is, in this order, a bound value, a maker, a phrase rule or a lexicon;
a lexicon `thing` is all files `thing.txt` and `thing.*.txt` together. Forms: `s` plural or third person, `ed` past,
`en` participle, `ing`, `a` with its article.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from importlib.resources import files
from random import Random

from auricle.errors import AuricleError

Maker = Callable[[Random], str]

_SLOT = re.compile(r"\{([a-z_.0-9]+)(?:\|([a-z]+))?\}")
_IRREGULAR = {
    "ox": "oxen", "mouse": "mice", "goose": "geese", "child": "children", "foot": "feet", "tooth": "teeth",
    "sheep": "sheep", "fish": "fish", "salmon": "salmon", "aircraft": "aircraft", "bison": "bison",
    "spacecraft": "spacecraft", "species": "species", "larva": "larvae", "fungus": "fungi", "calf": "calves",
    "wolf": "wolves", "shelf": "shelves", "bookshelf": "bookshelves", "scarf": "scarves", "thief": "thieves",
    "loaf": "loaves", "leaf": "leaves", "hypothesis": "hypotheses", "crisis": "crises", "thesis": "theses",
    "diagnosis": "diagnoses", "bacterium": "bacteria", "nucleus": "nuclei", "dwarf": "dwarves", "oasis": "oases",
    "handkerchief": "handkerchiefs", "phenomenon": "phenomena", "vertebra": "vertebrae", "axis": "axes",
    "matrix": "matrices", "biopsy": "biopsies", "goat": "goats", "runner up": "runners up",
    "coat of arms": "coats of arms", "yourself": "yourselves", "buffalo": "buffaloes", "hero": "heroes",
    "potato": "potatoes", "tomato": "tomatoes", "volcano": "volcanoes", "torpedo": "torpedoes", "echo": "echoes",
    "veto": "vetoes", "mosquito": "mosquitoes", "tornado": "tornadoes", "embargo": "embargoes",
}  # fmt: skip
_MEN = re.compile(r"(fisher|post|milk|signal|sales|police|crafts|gun|fore|chair)man$")


class Deck:
    """Draws the entries of a list in a random order, all of them before any comes again."""

    def __init__(self, entries: Sequence[str]) -> None:
        if not entries:
            raise AuricleError("cannot draw from an empty list of words: give at least one entry")
        self._entries = list(entries)
        self._next = len(self._entries)

    def draw(self, rng: Random) -> str:
        """The next entry."""
        if self._next >= len(self._entries):
            rng.shuffle(self._entries)
            self._next = 0
        self._next += 1
        return self._entries[self._next - 1]


@cache
def lines(group: str) -> tuple[str, ...]:
    """The lines of all files of a group: `thing` is `thing.animal.txt`, `thing.tool.txt` and so on."""
    found = sorted(
        (f for f in files("auricle.training").joinpath("lexicon").iterdir()
         if f.name == f"{group}.txt" or (f.name.startswith(f"{group}.") and f.name.endswith(".txt"))),
        key=lambda f: f.name,
    )  # fmt: skip
    entries = [line.strip() for f in found for line in f.read_text(encoding="ascii").splitlines()]
    if not any(entries):
        raise AuricleError(f"unknown slot or lexicon {group!r}: expected a file of that name in training/lexicon")
    return tuple(line for line in entries if line)


def lexicon(group: str) -> tuple[str, ...]:
    """The entries of a group, each once."""
    return tuple(dict.fromkeys(lines(group)))


@cache
def rules(name: str) -> Mapping[str, tuple[str, ...]]:
    """Phrase rules, one `key = template` a line; a key may come many times, a template repeated comes up more."""
    found: dict[str, list[str]] = {}
    for line in lines(name):
        key, _, body = line.partition(" =")
        found.setdefault(key.strip(), []).append(body.strip())
    return {key: tuple(bodies) for key, bodies in found.items()}


def plural(noun: str) -> str:
    """The plural of a noun or compound."""
    head, _, last = noun.rpartition(" ")
    head = f"{head} " if head else ""
    if noun in _IRREGULAR:
        return _IRREGULAR[noun]
    if last in _IRREGULAR:
        return head + _IRREGULAR[last]
    if _MEN.search(last):
        return head + last[:-2] + "en"
    return head + third_person(last)


def third_person(verb: str) -> str:
    """Adds the ending s as it is spelled: "carries", "passes"."""
    if verb.endswith("y") and verb[-2:-1] not in "aeiou":
        return verb[:-1] + "ies"
    if verb.endswith(("s", "x", "z", "ch", "sh")) and not verb.endswith(("arch", "och")):
        return verb + ("zes" if verb.endswith("iz") else "es")
    return verb + "s"


def with_article(phrase: str) -> str:
    """The phrase behind a or an, by sound for the common cases."""
    low = phrase.lower()
    vowel = low[:1] in ("a", "e", "i", "o", "u")
    if low.startswith(
        ("uni", "use", "usu", "util", "eu", "ewe", "one", "once", "ura", "uku", "unan", "ubi", "urin")
    ):
        vowel = low.startswith(("unin", "unim", "unident"))
    elif low.startswith(("hour", "honest", "honor", "heir", "herb")):
        vowel = True
    return f"{'an' if vowel else 'a'} {phrase}"


def finish(text: str) -> str:
    """Cleans spaces and commas and gives the sentence its first capital letter."""
    text = re.sub(r"\s+", " ", text).strip()
    text = re.sub(r"\s+([,.;:?!])", r"\1", text)
    text = re.sub(r",(\s*,)+", ",", text)
    text = re.sub(r",([.;:?!])", r"\1", text).lstrip(", ")
    return text[:1].upper() + text[1:]


def conjugate(entry: str, form: str) -> str:
    """One form of a verb entry "base past participle ing"."""
    base, past, participle, ing = entry.split()
    known = {"": base, "s": third_person(base), "ed": past, "en": participle, "ing": ing}
    return known[form]


class Grammar:
    """Fills templates. Keeps one deck a lexicon and rule, so that rare entries come as often as common ones."""

    def __init__(self, phrases: Mapping[str, tuple[str, ...]], makers: Mapping[str, Maker]) -> None:
        self._phrases = phrases
        self._makers = makers
        self._decks: dict[str, Deck] = {}

    def _draw(self, name: str, rng: Random) -> str:
        if name not in self._decks:
            self._decks[name] = Deck(self._phrases.get(name) or lexicon(name))
        return self._decks[name].draw(rng)

    def fill(self, template: str, rng: Random, bound: Mapping[str, str] | None = None) -> str:
        """The template with every slot filled; `bound` gives slots whose value (itself a template) is set."""
        return _SLOT.sub(lambda match: self._slot(match.group(1), match.group(2) or "", rng, bound), template)

    def fill_same(self, template: str, rng: Random) -> str:
        """Like `fill`, but a slot that comes twice gets the same value, whatever its forms."""
        names = dict.fromkeys(match.group(1) for match in _SLOT.finditer(template))
        return self.fill(template, rng, {name: self.fill(f"{{{name}}}", rng) for name in names})

    def _slot(self, name: str, form: str, rng: Random, bound: Mapping[str, str] | None) -> str:
        if bound and name in bound:
            value = self.fill(bound[name], rng, bound)
        elif name in self._makers:
            value = self._makers[name](rng)
        elif name == "verb":
            return conjugate(self._draw(name, rng), form)
        else:
            value = self.fill(self._draw(name, rng), rng, bound)
        if form == "s":
            return plural(value)
        return with_article(value) if form == "a" else value
