"""Questions with choices: how they are listed, and how a letter is read from an answer."""

import re
from collections.abc import Sequence
from string import ascii_uppercase

from auricle.errors import QueryError

_LETTER = re.compile(
    r"^\W*(?:the\s+)?(?:correct\s+)?(?:answer|option|choice)?(?:\s+is)?\W*([A-Z])(?![A-Za-z'])", re.I
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
    match = _LETTER.match(answer.strip())
    if match and (found := match.group(1).upper()) < letter(len(choices) - 1) + "\0":
        return found
    repeated = [i for i, choice in enumerate(choices) if choice.casefold() in answer.casefold()]
    return letter(repeated[0]) if len(repeated) == 1 else None
