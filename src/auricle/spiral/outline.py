"""Step one of the builder: which samples there are to be, each with its topic and the place of its right choice."""

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

from auricle.errors import DataError, OptionError
from auricle.files import write_text
from auricle.spiral.schema import TYPES, Topic, TranscriptType

CHOICES = 4
_FIELDS = {
    "id": str,
    "transcript_type": str,
    "category": str,
    "main_topic": str,
    "subtopic": str,
    "correct": int,
}


@dataclass(frozen=True)
class Item:
    """A sample that is to be written.

    Attributes:
        id: its type and a number within it, such as "lecture_0".
        topic: what it is to be about.
        correct: index, 0 to 3, where the right choice is to stand.
    """

    id: str
    topic: Topic
    correct: int

    def __post_init__(self) -> None:
        kind, _, number = self.id.rpartition("_")
        if kind != self.topic.transcript_type or not (number.isascii() and number.isdecimal()):
            raise DataError(f"The id is {self.id!r}; expected one like '{self.topic.transcript_type}_0'.")
        if self.correct not in range(CHOICES):
            raise DataError(
                f"The right choice of '{self.id}' is number {self.correct}; expected 0 to {CHOICES - 1}."
            )


def outline(count: int, seed: int, tree: Mapping[str, Any] | None = None) -> tuple[Item, ...]:
    """Draws the topics of a benchmark (SPIRAL, 1.2), balanced, in an order shuffled by the seed.

    Types are even to within one, and so are the main topics of a type. A subtopic comes a second time only when
    all of its main topic were used. Letters of the right choices are even to within one: over the set, in each
    type and in each main topic. Equal seeds give equal outlines; a longer outline need not begin with a shorter one
    of the same seed.

    Differs from the paper: its topics are a list of its own (Fig. 4-6), ours are another; its letters are uneven
    (the right choice is B in 60 % of its samples), ours are even.

    Args:
        count: of samples, at least 1.
        seed: of every choice.
        tree: topics as transcript type -> category -> main topic -> subtopics; those of this package without it.
            Types that it leaves out are left out.

    Raises:
        OptionError: no samples are asked for.
        DataError: the tree has another shape; the message says where.
    """
    if count < 1:
        raise OptionError(f"An outline of {count} samples was asked for; expected at least 1.")
    branches = _branches(own_tree() if tree is None else tree)
    rng = Random(seed)
    topics: list[Topic] = []
    for mains, of_type in zip(branches.values(), _shares(count, len(branches), rng), strict=True):
        for subtopics, of_main in zip(mains.values(), _shares(of_type, len(mains), rng), strict=True):
            topics += _draw(subtopics, of_main, rng)
    letters = rng.sample(range(CHOICES), CHOICES)  # they go round, so that each stretch of the topics has all
    placed = [(topic, letters[number % CHOICES]) for number, topic in enumerate(topics)]
    rng.shuffle(placed)
    numbers = Counter[TranscriptType]()
    items: list[Item] = []
    for topic, correct in placed:
        items.append(Item(f"{topic.transcript_type}_{numbers[topic.transcript_type]}", topic, correct))
        numbers[topic.transcript_type] += 1
    return tuple(items)


def own_tree() -> Mapping[str, Any]:
    """The topics of this package: 48 main topics with six subtopics each."""
    return read_tree(Path(__file__).with_name("topics.json"))


def read_tree(path: Path) -> Mapping[str, Any]:
    """Reads a tree of topics for `outline`, which checks its shape, from a JSON file.

    Raises:
        DataError: there is no such file, or it holds no JSON object.
    """
    tree = read_json(path)
    if not isinstance(tree, dict):
        raise DataError(f"'{path}' holds a {type(tree).__name__}; expected a tree of topics as a JSON object.")
    return tree


def save_items(path: Path, items: Iterable[Item]) -> None:
    """Writes an outline as JSON lines, whole or not at all."""
    write_text(path, "".join(json.dumps(item_to_json(item), ensure_ascii=False) + "\n" for item in items))


def load_items(path: Path) -> tuple[Item, ...]:
    """Reads what `save_items` wrote.

    Raises:
        DataError: there is no such file, a line of it is no item, or two items have the same id.
    """
    items: list[Item] = []
    for number, line in enumerate(_read(path).removesuffix("\n").split("\n"), 1):
        try:
            items.append(item_from_json(json.loads(line)))
        except ValueError as error:
            raise DataError(f"Line {number} of '{path}' is not JSON ({error}); make the outline again.") from error
        except DataError as error:
            raise DataError(f"Line {number} of '{path}' is no item: {error}") from error
    repeated = [each for each, times in Counter(item.id for item in items).items() if times > 1]
    if repeated:
        raise DataError(f"The outline '{path}' has the id '{repeated[0]}' twice; make it again.")
    return tuple(items)


def item_to_json(item: Item) -> dict[str, Any]:
    """The record of an item."""
    topic = item.topic
    return {
        "id": item.id,
        "transcript_type": topic.transcript_type,
        "category": topic.category,
        "main_topic": topic.main_topic,
        "subtopic": topic.subtopic,
        "correct": item.correct,
    }


def item_from_json(record: object) -> Item:
    """Reads what `item_to_json` gave.

    Raises:
        DataError: it is another kind of record; the message says where.
    """
    if not isinstance(record, dict) or record.keys() != _FIELDS.keys():
        raise DataError(f"It is {str(record)[:80]}; expected an object with the fields {', '.join(_FIELDS)}.")
    for field, kind in _FIELDS.items():
        if type(record[field]) is not kind:
            raise DataError(f"The field '{field}' is {record[field]!r}; expected {kind.__name__}.")
    if record["transcript_type"] not in TYPES:
        raise DataError(f"The transcript type is {record['transcript_type']!r}; expected {', '.join(TYPES)}.")
    topic = Topic(record["transcript_type"], record["main_topic"], record["subtopic"], record["category"])
    return Item(record["id"], topic, record["correct"])


def read_json(path: Path) -> Any:  # noqa: ANN401
    """Reads a JSON file.

    Raises:
        DataError: it cannot be read or is not JSON.
    """
    try:
        return json.loads(_read(path))
    except ValueError as error:
        raise DataError(f"'{path}' is not JSON ({error}); delete or mend it.") from error


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"'{path}' cannot be read: {error}; check the path.") from error


def _shares(count: int, parts: int, rng: Random) -> list[int]:
    """`count` in parts that are even to within one; chance says which have one more."""
    shares = [count // parts + (part < count % parts) for part in range(parts)]
    rng.shuffle(shares)
    return shares


def _draw(topics: Sequence[Topic], count: int, rng: Random) -> list[Topic]:
    """`count` of the topics, none a second time before all were drawn."""
    rounds = -(-count // len(topics))
    return [topic for _ in range(rounds) for topic in rng.sample(topics, len(topics))][:count]


def _branches(tree: Mapping[str, Any]) -> dict[TranscriptType, dict[str, tuple[Topic, ...]]]:
    """The topics of every main topic of every type.

    Raises:
        DataError: the tree has another shape.
    """
    found: dict[TranscriptType, dict[str, tuple[Topic, ...]]] = {}
    for kind, categories in _named(tree, "The tree of topics").items():
        if kind not in TYPES:
            raise DataError(f"The tree of topics has the transcript type {kind!r}; expected {', '.join(TYPES)}.")
        mains = found.setdefault(kind, {})
        for category, main_topics in _named(categories, f"The type '{kind}'").items():
            for main, subtopics in _named(main_topics, f"The category '{category}' of '{kind}'").items():
                if main in mains:
                    raise DataError(f"The type '{kind}' has the main topic '{main}' twice; give each one category.")
                mains[main] = tuple(Topic(kind, main, each, category) for each in _subtopics(subtopics, main))
    return found


def _named(value: Any, where: str) -> Mapping[str, Any]:  # noqa: ANN401 - whatever the user's tree holds
    if not isinstance(value, Mapping) or not value:
        raise DataError(f"{where} holds {str(value)[:60]!r}; expected an object that is not empty.")
    if not all(isinstance(name, str) and name.strip() for name in value):
        raise DataError(f"{where} has an entry without a name; expected a text before every colon.")
    return value


def _subtopics(value: Any, main: str) -> Sequence[str]:  # noqa: ANN401 - whatever the user's tree holds
    if not isinstance(value, list | tuple) or not value:
        raise DataError(f"The main topic '{main}' holds {str(value)[:60]!r}; expected a list of subtopics.")
    if not all(isinstance(subtopic, str) and subtopic.strip() for subtopic in value):
        raise DataError(f"The main topic '{main}' has a subtopic without text: {str(value)[:60]}.")
    if len({subtopic.strip().casefold() for subtopic in value}) < len(value):
        raise DataError(f"The main topic '{main}' has a subtopic twice; leave one out.")
    return value
