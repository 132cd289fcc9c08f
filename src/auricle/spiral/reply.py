"""What a language model is asked for, and which of its replies can be used: those that pass every check."""

import json
import re
from collections.abc import Sequence
from random import Random
from typing import Any, Literal, get_args

from auricle.errors import DataError
from auricle.questions import letter
from auricle.spiral.outline import CHOICES, Item
from auricle.spiral.schema import MultipleChoice, SpiralSample, Topic, TranscriptType, bare
from auricle.synthesis.dialogue import Turn

Reason = Literal["no-json", "schema", "speakers", "length", "key-sentence", "choices", "answer", "question"]
REASONS: tuple[Reason, ...] = get_args(Reason)
FEWEST_WORDS, MOST_WORDS = 150, 300  # the paper's samples have 127 to 289, about 90 s
SPEAKERS = ("spk_1", "spk_2", "spk_3", "spk_4", "spk_5")

_PROMPT = """\
Write a natural-sounding transcript of a {kind} about {subtopic} within {main_topic}{category}. It takes about one \
minute and a half to read aloud: aim at 200 to 240 words, with never fewer than {fewest} and never more than {most}.

The detail
- Embed one specific, technical detail that is not common knowledge, so that a question about it tests who listened.
- Make it unique, such as a certain statistic, a recent event or a personal experience, so that nobody can guess it.
- Say it in one sentence, the key sentence, and nowhere else in the transcript.
- Surround it with related but different information: other facts of the same kind that belong to something else.
- Do not flag it in any way: nobody announces it, stresses it or comes back to it.

How people talk
- Include natural elements of speech (pauses, fillers, brief repetitions) without overdoing them.
- Keep a conversational and engaging tone.
- Write only what is said, and all of it as it is said: numbers, dates, units and abbreviations in words, such as \
"twenty-three percent" or "nineteen eighty-four"; no headings, no stage directions, no symbols.
{manner}

The question
- It asks for the detail, can be answered only by who heard the transcript, does not contain the answer, and ends \
with a question mark.
- It has four distinct choices without letters, of the same kind (four years, four places or four materials, say) \
and about equally long. All are plausible and just one is right; none refers to the others, as "all of these" does.
- It calls speakers neither by a label nor by a gender: "the speaker", "one participant", "they".

Reply with one JSON object of this form and nothing else. Every element of a "text" array is one whole sentence, \
"original_key_sentence" repeats one of them word for word, and "correct_answer" repeats one of the choices.
{{
  "transcript": [{{"speaker": "spk_1", "text": ["...", "..."]}}],
  "original_key_sentence": "...",
  "test_question": {{"question": "...?", "choices": ["...", "...", "...", "..."], "correct_answer": "..."}}
}}"""
_MONOLOGUE = """
The lecture
- One speaker, "spk_1", speaks all the time, in the tone of an educational lecture.
- Begin directly with the content: no greeting, no announcement of the topic."""
_DIALOGUE = """
The {kind}
- Two to five speakers, labelled "spk_1" to "spk_5", each with several turns.
- They talk with each other as people do (they ask, agree, object) and have different views.
- Nobody says a label.
- Begin directly with the matter: no greeting, no introductions."""

# Quotes are looked at in one style, and neither they nor the marks at a sentence's end make it another sentence.
_QUOTES = str.maketrans({"\u2018": "'", "\u2019": "'", "\u201c": None, "\u201d": None, '"': None})
_MARKS = " .,:;!?'\u2026"
_LETTERED = re.compile(r"\(?[A-D][.):]\s*\S", re.IGNORECASE)
_RELATIVE = re.compile(
    r"\b(?:all|any|both|none|neither|either) of (?:the (?:above|others|other)|these|those|them)\b"
    r"|\b(?:both|neither|either) [A-D] (?:and|n?or) [A-D]\b",
    re.IGNORECASE,
)


class ReplyError(DataError):
    """A reply is no usable sample; the message says so to the model that is asked again.

    Attributes:
        reason: what is wrong, as one of `REASONS`.
    """

    def __init__(self, reason: Reason, message: str) -> None:
        super().__init__(message)
        self.reason: Reason = reason


def instructions(topic: Topic) -> str:
    """What a language model is asked for: the prompt of the paper's Table 3 (appendix A.2).

    Differs from the paper: the table names the requirements, most of the wording is ours. Added: bounds in words
    beside the minute and a half; one sentence an element and the key sentence word for word, so that a reply can be
    checked; the detail said only once; facts of the same kind around it and choices of the same kind, so that the
    right one does not stand out; everything written as it is spoken, for the voices; no labels in what is said or
    asked, which a listener would not know.
    """
    kind = topic.transcript_type
    return _PROMPT.format(
        kind=kind,
        subtopic=f'"{topic.subtopic}"',
        main_topic=f'"{topic.main_topic}"',
        category=f' (category: "{topic.category}")' if topic.category else "",
        fewest=FEWEST_WORDS,
        most=MOST_WORDS,
        manner=(_MONOLOGUE if kind == "lecture" else _DIALOGUE).format(kind=kind),
    )


def parse_reply(reply: str, item: Item) -> SpiralSample:
    """Reads and checks what a model replied to `instructions`.

    Prose or a Markdown fence around the JSON, letters before the choices, and white space, case, quotes and final
    punctuation of the key sentence and the right answer do not matter. The right choice is moved to where the item
    wants it; the others are shuffled, the same way for the same id.

    Differs from the paper, which had people check its samples: every rule that a program can decide is held to.

    Args:
        reply: of the model.
        item: what it was asked for.

    Raises:
        ReplyError: the reply holds no sample, or one that breaks a rule.
    """
    record = _json_object(reply)
    turns = _turns(record["transcript"])
    _check_speakers(turns, item.topic.transcript_type)
    sentences = [sentence for turn in turns for sentence in turn.sentences]
    words = sum(len(sentence.split()) for sentence in sentences)
    if not FEWEST_WORDS <= words <= MOST_WORDS:
        raise ReplyError(
            "length", f"The transcript has {words} words; expected {FEWEST_WORDS} to {MOST_WORDS}, 220 say."
        )
    key = _key_sentence(_text(record.get("original_key_sentence"), "original_key_sentence"), sentences)
    question, choices, right = _question(record.get("test_question"))
    heard = " ".join([*sentences, question, *choices])
    if label := re.search(r"\bspk_\d", heard):
        raise ReplyError(
            "speakers", f"The label {label[0]} is said or asked for; leave labels to the field 'speaker'."
        )
    others = [choice for choice in choices if choice != right]
    Random(item.id).shuffle(others)
    others.insert(item.correct, right)
    return SpiralSample(item.id, item.topic, turns, key, MultipleChoice(question, tuple(others), item.correct))


def _json_object(reply: str) -> dict[str, Any]:
    """The one JSON object with a transcript in the text, whatever stands around it."""
    decoder = json.JSONDecoder(strict=False)  # models write line breaks into texts
    found = list[dict[str, Any]]()
    start = reply.find("{")
    while start >= 0:
        try:
            value, end = decoder.raw_decode(reply, start)
            found.append(value)
        except (ValueError, RecursionError):
            end = start + 1
        start = reply.find("{", end)
    samples = [value for value in found if "transcript" in value]
    if len(samples) != 1:
        raise ReplyError(
            "no-json",
            f"The reply holds {len(samples)} complete JSON objects with a 'transcript'; expected exactly one.",
        )
    return samples[0]


def _text(value: Any, where: str) -> str:  # noqa: ANN401 - from JSON
    """A text with single spaces."""
    text = " ".join(value.split()) if isinstance(value, str) else ""
    if not text.isprintable() or not any(map(str.isalnum, text)):
        raise ReplyError("schema", f"{where} is {str(value)[:60]!r}; expected a text that can be spoken.")
    return text


def _turns(transcript: Any) -> tuple[Turn, ...]:  # noqa: ANN401 - from JSON
    if not isinstance(transcript, list) or not transcript:
        raise ReplyError("schema", "The transcript is not an array of turns; expected one that is not empty.")
    turns: list[Turn] = []
    for number, turn in enumerate(transcript, 1):
        if not isinstance(turn, dict) or not isinstance(turn.get("text"), list) or not turn["text"]:
            raise ReplyError("schema", f"Turn {number} has no array of sentences as its 'text'; give it one.")
        sentences = tuple(_text(sentence, f"A sentence of turn {number}") for sentence in turn["text"])
        turns.append(Turn(_text(turn.get("speaker"), f"The speaker of turn {number}"), sentences))
    return tuple(turns)


def _check_speakers(turns: Sequence[Turn], kind: TranscriptType) -> None:
    speakers = {turn.speaker for turn in turns}
    allowed = SPEAKERS[:1] if kind == "lecture" else SPEAKERS
    if not speakers <= set(allowed) or (kind != "lecture" and len(speakers) < 2):
        expected = "only spk_1" if kind == "lecture" else "two to five of spk_1 to spk_5"
        raise ReplyError("speakers", f"The speakers are {', '.join(sorted(speakers))}; expected {expected}.")


def _key_sentence(given: str, sentences: Sequence[str]) -> str:
    """The sentence of the transcript that is meant."""
    key = _fold(given)
    holding = [sentence for sentence in sentences if _holds(sentence, given)]
    whole = [sentence for sentence in holding if _fold(sentence) == key]
    if len(holding) != 1 or len(whole) != 1:
        raise ReplyError(
            "key-sentence",
            f"The key sentence {given!r} is {len(whole)} times an element of a 'text' array and"
            f" {len(holding) - len(whole)} times a part of one; expected exactly one element, with the same words.",
        )
    return whole[0]


def _question(test: Any) -> tuple[str, tuple[str, ...], str]:  # noqa: ANN401 - from JSON
    """The question, the choices without letters, and the right one."""
    if not isinstance(test, dict) or not isinstance(test.get("choices"), list):
        raise ReplyError("schema", "'test_question' is no object with an array of choices; give it one.")
    question = _text(test.get("question"), "The question")
    listed = [_text(choice, "A choice") for choice in test["choices"]]
    given = _text(test.get("correct_answer"), "'correct_answer'")
    choices = bare(listed)
    if len(choices) != CHOICES or len(set(map(_fold, choices))) < CHOICES:
        raise ReplyError("choices", f"The choices are {list(choices)}; expected four distinct ones.")
    if all(map(_LETTERED.match, choices)) or any(map(_RELATIVE.search, choices)):
        raise ReplyError("choices", "The choices have letters or refer to each other; give four plain answers.")
    right = _right(given, listed, choices)
    if not question.endswith("?"):
        raise ReplyError("question", f"The question is {question!r}; end it with a question mark.")
    if _holds(question, right):
        raise ReplyError("question", f"The question contains its answer {right!r}; ask without saying it.")
    return question, choices, right


def _right(given: str, listed: Sequence[str], choices: Sequence[str]) -> str:
    """The choice that an answer means: by its text, with or without its letter, or else by the letter alone."""
    spellings = [
        {
            _fold(each)
            for each in (raw, text, f"{letter(i)}. {text}", f"{letter(i)}) {text}", f"({letter(i)}) {text}")
        }
        for i, (raw, text) in enumerate(zip(listed, choices, strict=True))
    ]
    found = [i for i, spelling in enumerate(spellings) if _fold(given) in spelling]
    found = found or [i for i in range(CHOICES) if given.strip(" ().:").upper() == letter(i)]
    if len(found) != 1:
        raise ReplyError("answer", f"'correct_answer' is {given!r}; expected the text of one of {list(choices)}.")
    return choices[found[0]]


def _fold(text: str) -> str:
    """A text without what does not make it another: white space, case, quotes and the marks around it."""
    return " ".join(text.translate(_QUOTES).casefold().split()).lstrip("'").rstrip(_MARKS)


def _holds(text: str, part: str) -> bool:
    """Whether a text says another one in whole words."""
    return re.search(rf"(?<!\w){re.escape(_fold(part))}(?!\w)", _fold(text)) is not None
