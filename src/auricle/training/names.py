"""Pronounceable invented names, made of syllables."""

from random import Random

_ONSETS = (
    "b", "br", "bl", "c", "ch", "cl", "cr", "d", "dr", "f", "fl", "fr", "g", "gl", "gr", "h", "j", "k",
    "kl", "kr", "l", "m", "n", "p", "pl", "pr", "qu", "r", "s", "sc", "sh", "sk", "sl", "sm", "sn",
    "sp", "st", "str", "sw", "t", "th", "tr", "tw", "v", "w", "wh", "y", "z",
)  # fmt: skip
_VOWELS = (
    "a", "a", "a", "e", "e", "e", "i", "i", "i", "o", "o", "o", "u", "u", "ai", "ea", "ee", "ie", "oa",
    "oo", "ou", "au", "oi",
)  # fmt: skip
_CODAS = (
    "l", "m", "n", "n", "r", "r", "s", "t", "d", "k", "p", "x", "ll", "nd", "nt", "rd", "rm", "rn",
    "rt", "st", "sk", "mp", "lk", "lm", "ck", "ng", "th", "sh", "ss", "ft", "lt",
)  # fmt: skip
_MIDDLES = (
    "l", "m", "n", "r", "s", "t", "d", "v", "b", "g", "k", "nd", "nt", "rd", "rl", "rm", "rn", "st",
    "ss", "tt", "ll", "lm", "lv", "mb", "mp", "nk", "sk", "ph", "th", "z", "ndr", "str", "mbr", "lt",
    "ld",
)  # fmt: skip
_ENDINGS = (
    "a", "ia", "in", "en", "on", "ar", "or", "el", "is", "us", "ax", "ane", "ine", "ard", "ell", "ett",
    "ith", "ory", "enna", "ella", "ora", "una", "ova", "ico", "ado", "ax", "ium", "ex", "os", "as",
    "ett", "ova", "ander", "ingham", "stead", "worth", "wick", "mere", "more", "dale", "ley", "by",
    "ton", "field", "moor", "haven", "gate", "ford", "burg", "holm", "stone",
)  # fmt: skip


def pseudo_word(rng: Random) -> str:
    """An invented word of one to four syllables, in small letters: "velmarin"."""
    word = rng.choice((*_ONSETS, "", "")) + rng.choice(_VOWELS)
    for _ in range(rng.choice((0, 0, 1, 1, 1, 2))):
        word += rng.choice(_MIDDLES) + rng.choice(_VOWELS[:14])
    if rng.random() < 0.3:
        return word + rng.choice(_CODAS)
    ending = rng.choice(_ENDINGS)
    return word + (rng.choice(_MIDDLES[:11]) if ending[0] in "aeiou" else rng.choice("nrl")) + ending


def pseudo_name(rng: Random) -> str:
    """An invented word of at least four letters with a capital letter: "Velmarin"."""
    word = pseudo_word(rng)
    while not 4 <= len(word) <= 12:
        word = pseudo_word(rng)
    return word.capitalize()


def letters(rng: Random) -> str:
    """Four to six capital letters, said one by one: "B, K, A, W"."""
    return ", ".join(rng.choice("ABCDEFGHIJKLMNOPQRSTUVWXYZ") for _ in range(rng.randrange(4, 7)))
