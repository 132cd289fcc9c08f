"""What a SPIRAL sample is, and the two layouts in which it is stored.

The published layout (`data.jsonl` of SPIRAL) holds choices with their letters and the right one as a full text; the
layout of this project's own sets (`data/sir`) holds choices by letter and the right letter. `from_json` reads both,
`to_json` writes the published one.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

from auricle.errors import DataError
from auricle.questions import letter
from auricle.synthesis.dialogue import Turn

TranscriptType = Literal["lecture", "meeting", "conversation"]
TYPES: tuple[TranscriptType, ...] = get_args(TranscriptType)
_LETTERED = re.compile(r"^\(?([A-Z])[.):]\s+")


@dataclass(frozen=True)
class MultipleChoice:
    """A question with choices.

    Attributes:
        question: what is asked.
        choices: the possible answers, without letters.
        correct: index of the right one.
    """

    question: str
    choices: tuple[str, ...]
    correct: int


@dataclass(frozen=True)
class Topic:
    """What a sample is about.

    Attributes:
        transcript_type: who speaks: one lecturer, a meeting or a conversation.
        main_topic: such as "Biology".
        subtopic: such as "Genetics".
        category: of main topics; "" where a set has none.
    """

    transcript_type: TranscriptType
    main_topic: str
    subtopic: str
    category: str = ""


@dataclass(frozen=True)
class SpiralSample:
    """A transcript with a question about one detail.

    Attributes:
        id: unique in its set, such as "lecture_12"; it names the sample's files.
        topic: what it is about.
        turns: who says what.
        key_sentence: the sentence that holds the detail.
        test: the question.
    """

    id: str
    topic: Topic
    turns: tuple[Turn, ...]
    key_sentence: str
    test: MultipleChoice

    @property
    def text(self) -> str:
        """All that is said."""
        return " ".join(sentence for turn in self.turns for sentence in turn.sentences)

    @property
    def words(self) -> int:
        """Words said."""
        return len(self.text.split())

    @property
    def speakers(self) -> tuple[str, ...]:
        """Who speaks, in the order in which they first do."""
        return tuple(dict.fromkeys(turn.speaker for turn in self.turns))


def to_json(sample: SpiralSample) -> dict[str, Any]:
    """The record of the published layout, without `audio_data`."""
    choices = [f"{letter(i)}. {choice}" for i, choice in enumerate(sample.test.choices)]
    metadata = {
        "main_topic": sample.topic.main_topic,
        "subtopic": sample.topic.subtopic,
        "transcript_type": sample.topic.transcript_type,
        "id": sample.id,
    }
    if sample.topic.category:
        metadata["category"] = sample.topic.category
    return {
        "transcript": [{"speaker": turn.speaker, "text": list(turn.sentences)} for turn in sample.turns],
        "original_key_sentence": sample.key_sentence,
        "test_question": {
            "question": sample.test.question,
            "choices": choices,
            "correct_answer": choices[sample.test.correct],
        },
        "metadata": metadata,
    }


def from_json(record: Mapping[str, Any]) -> SpiralSample:
    """Reads a record of either layout.

    Raises:
        DataError: a field is missing or of another kind, or the right answer is none of the choices.
    """
    about = record.get("metadata", record)
    try:
        kind = about["transcript_type"]
        if kind not in TYPES:
            raise DataError(f"The transcript type is {kind!r}; expected one of {', '.join(TYPES)}.")
        turns = tuple(Turn(str(turn["speaker"]), _sentences(turn["text"])) for turn in record["transcript"])
        key = record["original_key_sentence"] if "original_key_sentence" in record else record["key_sentence"]
        return SpiralSample(
            id=str(about["id"]),
            topic=Topic(kind, about["main_topic"], about["subtopic"], about.get("category", "")),
            turns=turns,
            key_sentence=str(key),
            test=_question(record["test_question"]),
        )
    except (KeyError, TypeError, AttributeError) as error:
        raise DataError(
            f"A SPIRAL record lacks or misuses the field {error}; expected the layout that was published."
        ) from error


def bare(choices: Sequence[str]) -> tuple[str, ...]:
    """Choices without their letters: "A. a harbor" is "a harbor"; as they are unless all have theirs, in order."""
    stripped = tuple(choice.strip() for choice in choices)
    letters = [match[1] if (match := _LETTERED.match(choice)) else "" for choice in stripped]
    if letters != [letter(i) for i in range(len(stripped))]:
        return stripped
    return tuple(_LETTERED.sub("", choice) for choice in stripped)


def _sentences(text: Any) -> tuple[str, ...]:  # noqa: ANN401 - from JSON
    if not isinstance(text, list) or not all(isinstance(sentence, str) for sentence in text):
        raise DataError(f"A turn's text is {str(text)[:60]!r}; expected a list of sentences.")
    return tuple(text)


def _question(test: Mapping[str, Any]) -> MultipleChoice:
    listed = test["choices"]
    right = str(test["correct_answer"])
    if isinstance(listed, Mapping):
        letters = list(listed)
        texts = tuple(str(choice).strip() for choice in listed.values())
        found = [i for i, each in enumerate(letters) if each == right]
    else:
        texts = bare([str(choice) for choice in listed])
        found = [i for i, choice in enumerate(listed) if str(choice).strip() == right.strip()]
        found = found or [i for i, choice in enumerate(texts) if right.strip() in (choice, letter(i))]
    if len(found) != 1:
        raise DataError(f"The right answer {right!r} is not one of the choices {list(texts)}.")
    return MultipleChoice(str(test["question"]), texts, found[0])
