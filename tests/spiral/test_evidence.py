import json
from pathlib import Path

import pytest

from auricle.errors import DataError
from auricle.spiral.evidence import locate

ROOT = Path(__file__).parents[2]
PUBLISHED = ROOT.parent / "shared/data/spiral/dev.jsonl"
SAID = (
    "Good morning, everybody.",
    "The ferry leaves from the northern pier at noon.",
    "Right!",
    "And the old ferry, well, it leaves from the southern pier at six.",
    "Bring your own lunch, because the kitchen is closed.",
    "Right!",
    "It's the captain's birthday too.",
)


@pytest.mark.parametrize(
    ("key", "place"),
    [
        ("The ferry leaves from the northern pier at noon.", range(1, 2)),
        ("THE FERRY LEAVES, FROM THE NORTHERN PIER - AT NOON", range(1, 2)),
        ("because the kitchen is closed", range(4, 5)),
        ("Right! And the old ferry, well, it leaves", range(2, 4)),
        ("pier at six. Bring your own lunch", range(3, 5)),
        ("Right!", range(2, 3)),
        ("Its the captains birthday too", range(6, 7)),
        # Other words, fewer words, further words.
        ("The ferry departs from the northern pier at noon.", range(1, 2)),
        ("The old ferry leaves from the southern pier at six.", range(3, 4)),
        ("Please bring your own lunch since the kitchen is closed today.", range(4, 5)),
        ("The old ferry leaves from the southern pier at six, so bring your own lunch with you.", range(3, 5)),
    ],
)
def test_locate(key: str, place: range) -> None:
    assert locate(SAID, key) == place


@pytest.mark.parametrize(
    "key", ["The train to the city is late again today.", "Noon at pier northern the from leaves ferry the."]
)
def test_a_sentence_that_nobody_says(key: str) -> None:
    with pytest.raises(DataError, match=r"not in the transcript: at most \d+% .* expected 60%"):
        locate(SAID, key)


@pytest.mark.parametrize(("sentences", "key"), [(SAID, " ... "), ((), "Right!"), (("...",), "Right!")])
def test_nothing_to_look_for(sentences: tuple[str, ...], key: str) -> None:
    with pytest.raises(DataError, match="key sentence"):
        locate(sentences, key)


@pytest.mark.skipif(not PUBLISHED.is_file(), reason="the published transcripts are not beside the project")
def test_the_published_transcripts() -> None:
    records = [json.loads(line) for line in PUBLISHED.read_text().splitlines()]
    assert len(records) == 400
    for record in records:
        texts = [text for turn in record["transcript"] for text in turn["text"]]
        place = locate(texts, record["original_key_sentence"])
        assert 1 <= len(place) <= 3


def test_our_own_transcripts() -> None:
    for line in (ROOT / "data/sir/authored.jsonl").read_text().splitlines():
        record = json.loads(line)
        texts = [text for turn in record["transcript"] for text in turn["text"]]
        place = locate(texts, record["key_sentence"])
        assert [texts[i] for i in place] == [record["key_sentence"]]
