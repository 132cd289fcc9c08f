"""Questions with choices: how they are listed, and how a letter is read from an answer."""

import re
from collections.abc import Sequence
from string import ascii_uppercase

from auricle.errors import QueryError

# A letter alone, before punctuation or, unless it is an English word, before a word: "B", "(b)", "**B.** a harbor",
# "B a harbor"; "A harbor" has none.
_ALONE = re.compile(r"^\W*(?:([A-Za-z])\s*(?:[^\w\s'\u2019-]|$)|([B-HJ-Z])\s)")
# A letter that is announced: "The answer is B because", "Option (b)"; "The answer is a harbor" has none.
_ANNOUNCED = re.compile(
    r"^\W*(?i:(?:the )?(?:correct |right |best )?(?:answer|option|choice)(?: is)?(?: option| choice)?)\W+"
    r"(?:([A-Z])(?![\w'\u2019])|\(?([a-z])(?:[).:,]|$))"
)


def check_question(text: str) -> str:
    """The question without surrounding space.

    Raises:
        QueryError: it is empty.
    """
    if not text.strip():
        raise QueryError("The question is empty; ask something, for example 'What is decided?'.")
    return text.strip()


def check_choices(choices: Sequence[str]) -> tuple[str, ...]:
    """The choices without surrounding space; none is fine.

    Raises:
        QueryError: only one, more than 26, an empty one, or two alike.
    """
    stripped = tuple(choice.strip() for choice in choices)
    if len(stripped) == 1 or len(stripped) > len(ascii_uppercase):
        raise QueryError(f"Expected 2 to {len(ascii_uppercase)} choices, given {len(stripped)}.")
    if not all(stripped):
        raise QueryError(f"Choice {letter(stripped.index(''))} is empty; give every choice a text.")
    if len(set(stripped)) < len(stripped):
        raise QueryError("Two choices are the same; expected distinct texts.")
    return stripped


def letter(index: int) -> str:
    """A for 0, B for 1 ..."""
    return ascii_uppercase[index]


def list_choices(question: str, choices: Sequence[str]) -> str:
    """The question, its choices with letters, one a line, and the request for a letter."""
    lines = [f"{letter(i)}. {choice}" for i, choice in enumerate(choices)]
    return "\n".join([question, *lines, "Answer with the letter of the correct choice only."])


def parse_letter(answer: str, choices: Sequence[str]) -> str | None:
    """The letter that an answer begins with, or of the one choice that it repeats; None if neither is clear.

    "B", "(b)", "B. a harbor", "The answer is B" give B; "Because ..." gives none.
    """
    text = answer.strip()
    folded = [choice.strip().casefold() for choice in choices]
    bare = text.strip(" .\"'").casefold()
    if folded.count(bare) == 1:
        return letter(folded.index(bare))
    if match := _ANNOUNCED.match(text) or _ALONE.match(text):
        found = next(group for group in match.groups() if group).upper()
        if found in ascii_uppercase[: len(choices)]:
            return found
    repeated = [each for each in folded if each and re.search(rf"(?<!\w){re.escape(each)}(?!\w)", text.casefold())]
    whole = [each for each in repeated if not any(each in other and each != other for other in repeated)]
    return letter(folded.index(whole[0])) if len(whole) == 1 else None
