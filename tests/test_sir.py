"""The samples of SIR-mini keep to their brief."""

import json
import re
from collections import Counter
from pathlib import Path

import pytest

from auricle.spiral.schema import from_json
from training.held_out import PATHS, grams, held_out_grams

FOLDER = Path(__file__).parent.parent / "data/sir"
FILES = ("authored", "validation", "test")
SPEAKERS = {f"spk_{i}" for i in range(1, 6)}
PARAPHRASED = [json.loads(line) for line in (FOLDER / "paraphrased.jsonl").read_text().splitlines()]
FUNCTION_WORDS = """a an the this that it its s his she them we our my me who which what where when how and for
because since in of on at to from by with through behind is was had been have has did do will can each all"""


def load(name):
    return [from_json(json.loads(line)) for line in (FOLDER / f"{name}.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("sample", [sample for name in FILES for sample in load(name)], ids=lambda s: s.id)
def test_a_sample_keeps_to_the_brief(sample):
    sentences = [sentence for turn in sample.turns for sentence in turn.sentences]
    assert 200 <= sample.words <= 260
    assert sample.text.isascii()
    assert not re.search(r"[\d%$&@#]", sample.text)
    assert sentences.count(sample.key_sentence) == 1
    assert all(re.search(r"[.?!]$", sentence) for sentence in sentences)
    assert sample.test.question.endswith("?")
    assert len({choice.lower() for choice in sample.test.choices}) == 4
    assert all(1 <= len(choice.split()) <= 7 for choice in sample.test.choices)
    if sample.topic.transcript_type == "lecture":
        assert set(sample.speakers) == {"spk_1"}
    else:
        assert 2 <= len(sample.speakers) <= 5
        assert set(sample.speakers) <= SPEAKERS
        assert 6 <= len(sample.turns) <= 14


@pytest.mark.parametrize(("name", "size"), [("authored", 48), ("validation", 40), ("test", 120)])
def test_letters_positions_and_lengths_give_nothing_away(name, size):
    samples = load(name)
    assert len(samples) == size
    assert set(Counter(sample.test.correct for sample in samples).values()) == {size // 4}
    thirds = Counter(int(3 * sample.text.index(sample.key_sentence) / len(sample.text)) for sample in samples)
    assert all(0.25 < count / size < 0.42 for count in thirds.values())
    longest = [max(sample.test.choices, key=len) == sample.test.choices[sample.test.correct] for sample in samples]
    assert sum(longest) / size < 0.36


def test_nothing_is_said_twice():
    samples = [sample for name in FILES for sample in load(name)]
    assert len({sample.id for sample in samples}) == len(samples)
    seen: dict[tuple[str, ...], str] = {}
    for sample in samples:
        for gram in grams(sample.text):
            assert seen.setdefault(gram, sample.id) == sample.id


def test_validation_and_test_share_no_topic():
    topics = [{sample.topic.main_topic for sample in load(name)} for name in ("validation", "test")]
    assert not topics[0] & topics[1]
    assert [len(each) for each in topics] == [5, 15]


def content(text):
    """Its content words, long ones by their first five letters."""
    words = set(re.findall(r"[a-z]+", text.lower())) - set(FUNCTION_WORDS.split())
    return {word[:5].removesuffix("s") for word in words}


def test_every_authored_sample_has_one_paraphrase():
    assert [each["id"] for each in PARAPHRASED] == [sample.id for sample in load("authored")]
    assert all(each.keys() == {"id", "question"} for each in PARAPHRASED)
    assert len({each["question"] for each in PARAPHRASED}) == len(PARAPHRASED)


@pytest.mark.parametrize("line", PARAPHRASED, ids=lambda line: line["id"])
def test_a_paraphrase_has_no_word_to_find(line):
    (sample,), asked = [each for each in load("authored") if each.id == line["id"]], line["question"]
    assert asked.isascii()
    assert not re.search(r"[\d%$&@#]", asked)
    assert asked.endswith("?")
    assert len(content(asked)) >= 2
    assert content(asked) != content(sample.test.question)
    assert not content(asked) & content(sample.key_sentence)


@pytest.mark.parametrize(
    "path",
    [path for path in PATHS if path.stem != "paraphrased"],
    ids=lambda path: f"{path.parent.name}-{path.stem}",
)
def test_paraphrases_share_nothing_with_other_questions(path):
    if not path.exists():
        pytest.skip(f"{path.name} lies beside the project only in its own workshop")
    assert not {gram for each in PARAPHRASED for gram in grams(each["question"])} & held_out_grams(path)
