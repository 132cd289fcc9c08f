"""An endless stream of sentences to read aloud, for training the ear."""

from collections.abc import Iterator, Sequence
from random import Random

from auricle.training import names, spoken
from auricle.training.grammar import Deck, Grammar, Maker, finish, lexicon, rules

SALAD = 0.25  # part of the sentences that are lists of rare, invented and extra words
TAIL = 0.6  # part of the plain statements that go on with a place, a reason, an aside
WORDS = (5, 30)

MAKERS: dict[str, Maker] = {
    "any_year": spoken.any_year,
    "clock": spoken.clock,
    "date": spoken.date,
    "decimal": spoken.decimal,
    "digits": spoken.digits,
    "duration": spoken.duration,
    "fraction": spoken.fraction,
    "length": spoken.length,
    "letters": names.letters,
    "money": spoken.money,
    "month": spoken.month,
    "nth": spoken.nth,
    "number": spoken.number,
    "percent": spoken.percent,
    "pseudo": names.pseudo_name,
    "pseudo_small": names.pseudo_word,
    "small": spoken.small,
    "temperature": spoken.temperature,
    "volume": spoken.volume,
    "weekday": spoken.weekday,
    "weight": spoken.weight,
}


def speakable(words: Sequence[str]) -> list[str]:
    """The words a reader can say: ASCII letters, an apostrophe or hyphen inside, each once."""
    kept = (word.strip() for word in words)
    return list(
        dict.fromkeys(
            word
            for word in kept
            if word.isascii() and len(word) > 1 and word.replace("'", "").replace("-", "").isalpha()
        )
    )


def sentences(seed: int, *, words: Sequence[str] = ()) -> Iterator[str]:
    """Endless varied sentences, the same for the same seed and words.

    They are spelled as they are spoken: ASCII, numbers as words, 5 to 30 words. A quarter are not sentences but
    lists of rare words and invented names, which need an equally good ear.

    Args:
        seed: of every choice.
        words: extra vocabulary, used in lists, as quoted terms and as nouns; all of it before any word comes
            again. What cannot be read aloud as a word is left out.
    """
    rng = Random(seed)
    extra = Deck(speakable(words) or lexicon("rare"))
    grammar = Grammar(rules("phrases"), {**MAKERS, "extra": extra.draw})
    plain, salad = Deck(lexicon("shapes")), Deck(lexicon("salad"))
    while True:
        if rng.random() < SALAD:
            template = salad.draw(rng)
        else:
            template = plain.draw(rng)
            if template.endswith(".") and rng.random() < TAIL:
                template = template[:-1] + " {tail}."
        sentence = finish(grammar.fill(template, rng))
        if WORDS[0] <= len(sentence.split()) <= WORDS[1]:
            yield sentence
