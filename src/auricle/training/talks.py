"""Talks written for this project: lectures, meetings and conversations with questions about their details.

They lie in `talks/*.txt`: a head `# type | topic`, turns `1: sentences`, and questions
`? question | answer | wrong | wrong | wrong`; a blank line ends a talk.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from random import Random
from typing import Literal, get_args

from auricle.errors import AuricleError
from auricle.synthesis.dialogue import Turn

Style = Literal["plain", "dense", "wide", "hard", "keen"]

VALIDATION = 10  # every tenth talk of a file is kept from training

_SENTENCE = re.compile(r"(?<=[.?!])\s+")


@dataclass(frozen=True)
class Question:
    """What is asked about a talk, the right answer and three wrong ones."""

    question: str
    answer: str
    wrong: tuple[str, ...]


@dataclass(frozen=True)
class Talk:
    """A talk with its questions.

    Attributes:
        kind: lecture, meeting or conversation.
        turns: who says what, a sentence a string.
        questions: each has its answer in one sentence of the talk.
    """

    kind: str
    turns: tuple[Turn, ...]
    questions: tuple[Question, ...]

    @property
    def text(self) -> str:
        """All that is said."""
        return " ".join(sentence for turn in self.turns for sentence in turn.sentences)

    @property
    def asked(self) -> tuple[tuple[str, str], ...]:
        """The questions with their answers."""
        return tuple((question.question, question.answer) for question in self.questions)


@cache
def talks(style: Style = "plain", *, validation: bool = False) -> tuple[Talk, ...]:
    """The written talks that are trained on, or those that are kept from training.

    Args:
        style: the dense ones, files `dense-*.txt`, have more facts of one kind; the wide ones, `wide-*.txt`, were
            written around common words that the others hardly use; the hard ones, `hard-*.txt`, ask in other words
            than the talk's, and for what is easily confused, corrected or disputed; the keen ones, `keen-*.txt`,
            are longer and ask so, too, but for what is said in the answer's words.
        validation: those that are kept from training.
    """
    folder = files("auricle.training").joinpath("talks")
    found = sorted((file for file in folder.iterdir() if _style(file.name) == style), key=lambda file: file.name)
    return tuple(
        talk
        for file in found
        for number, talk in enumerate(parse(file.read_text(encoding="ascii")), 1)
        if (number % VALIDATION == 0) == validation
    )


def parse(text: str) -> Iterator[Talk]:
    """The talks of one file.

    Raises:
        AuricleError: a talk has no head, or a line is none of the three kinds.
    """
    for block in re.split(r"\n\s*\n", text.strip()):
        head, *lines = block.strip().splitlines()
        if not head.startswith("# "):
            raise AuricleError(f"A talk begins with {head!r}; expected a head '# type | topic'.")
        turns, questions = list[Turn](), list[Question]()
        for line in lines:
            if match := re.fullmatch(r"(\d): (.+)", line):
                turns.append(Turn(f"spk_{match[1]}", tuple(_SENTENCE.split(match[2].strip()))))
            elif line.startswith("? ") and line.count("|") == 4:
                question, answer, *wrong = (part.strip() for part in line[2:].split("|"))
                questions.append(Question(question, answer, tuple(wrong)))
            else:
                raise AuricleError(
                    f"{head!r} has the line {line!r}; expected a turn '1: ...' or a question '? ... | ...' with 4"
                    " answers."
                )
        yield Talk(head.removeprefix("#").partition("|")[0].strip(), tuple(turns), tuple(questions))


def endless(seed: int) -> Iterator[Talk]:
    """The talks of training over and over, each time in another order, style by style."""
    rng, styles = Random(seed), [list(talks(style)) for style in get_args(Style)]
    while any(styles):
        for style in styles:
            rng.shuffle(style)
            yield from style


def _style(name: str) -> Style:
    return next((style for style in get_args(Style) if name.startswith(f"{style}-")), "plain")
