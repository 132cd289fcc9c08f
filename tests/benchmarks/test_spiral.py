import json

import pytest

from auricle import registry
from auricle.audio import SAMPLE_RATE
from auricle.benchmarks.spiral import Spiral, read_samples
from auricle.errors import DataError, OptionError, UnknownNameError
from auricle.spiral.schema import from_json, to_json
from sets import spiral_record, write_spiral


@pytest.mark.parametrize("wavs", ["wavs", "wavs/wavs", "spiral/wavs"])
def test_a_published_set_is_read_wherever_its_archive_unpacked(tmp_path, wavs):
    samples = list(Spiral(write_spiral(tmp_path, 3, wavs=wavs)).samples())
    assert [sample.id for sample in samples] == ["set_0", "set_1", "set_2"]
    assert [sample.correct for sample in samples] == [0, 1, 2]
    assert samples[0].choices == ("red", "green", "blue", "grey")
    assert samples[1].evidence == ((40 / 3 + 1, 40 / 3 + 4),)
    assert samples[1].transcript == "We painted the shed. It is green now. I liked the red."
    assert samples[1].groups == {"transcript_type": "conversation", "main_topic": "Home"}
    assert samples[2].load().size == 40 * SAMPLE_RATE


def test_a_set_without_its_audio_says_what_to_do(tmp_path):
    (tmp_path / "data.jsonl").write_text(json.dumps(spiral_record("set_0")))
    with pytest.raises(DataError, match=r"set_0.wav.*auricle spiral voice"):
        list(Spiral(tmp_path).samples())
    assert [sample.id for sample in read_samples(tmp_path)] == ["set_0"]  # the text can be had


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("{", "Line 1 .* no JSON"),
        ("[1]", "Line 1 .* no JSON object"),
        (json.dumps({"transcript": []}), "transcript_type"),
        (json.dumps(spiral_record("set_0") | {"transcript": [{"speaker": "spk_1", "text": "one"}]}), "list of"),
        (json.dumps(spiral_record("set_0")) + "\n" + json.dumps(spiral_record("set_0")), "more than one"),
    ],
)
def test_a_damaged_set_is_refused(tmp_path, content, words):
    (tmp_path / "data.jsonl").write_text(content)
    with pytest.raises(DataError, match=words):
        read_samples(tmp_path)


def test_a_missing_set_is_refused(tmp_path):
    with pytest.raises(DataError, match="cannot be read"):
        list(Spiral(tmp_path / "none").samples())


@pytest.mark.parametrize("combined", [None, 3, {"audio_files": 3}, {"audio_files": {"a": 1}}])
def test_audio_data_of_another_kind_is_refused(tmp_path, combined):
    folder = write_spiral(tmp_path, 1, seconds=1)
    record = spiral_record("set_0") | {"audio_data": {"combined": combined}}
    (folder / "data.jsonl").write_text(json.dumps(record))
    with pytest.raises(DataError, match="not as published"):
        list(Spiral(folder).samples())


@pytest.mark.parametrize("evidence", [[1, 2], [["a", 2]], 3])
def test_evidence_that_is_no_spans_is_refused(tmp_path, evidence):
    folder = write_spiral(tmp_path, 1, seconds=1)
    (folder / "data.jsonl").write_text(json.dumps(spiral_record("set_0", evidence=evidence)))
    with pytest.raises(DataError, match="pairs of start and end"):
        list(Spiral(folder).samples())


def test_both_layouts_give_the_same_sample():
    record = spiral_record("set_1")
    sample = from_json(record)
    assert from_json(to_json(sample)) == sample
    own = {
        **record["metadata"],
        "transcript": record["transcript"],
        "key_sentence": record["original_key_sentence"],
        "test_question": {
            "question": "Which color is the shed?",
            "choices": {"A": "red", "B": "green", "C": "blue", "D": "grey"},
            "correct_answer": "B",
        },
    }
    assert from_json(own) == sample
    assert (sample.words, sample.speakers) == (12, ("spk_1", "spk_2"))


def test_an_initial_is_no_letter_of_a_choice():
    record = spiral_record("set_1")
    record["test_question"] |= {"choices": ["J. Smith", "B. Lin", "A. Kim", "T. Roe"], "correct_answer": "B. Lin"}
    assert from_json(record).test.choices == ("J. Smith", "B. Lin", "A. Kim", "T. Roe")
    record["test_question"]["correct_answer"] = "Lin"
    with pytest.raises(DataError, match="not one of the choices"):
        from_json(record)


def test_benchmarks_are_found_by_name(tmp_path):
    assert registry.benchmark("spiral", data=tmp_path) == Spiral(tmp_path)
    with pytest.raises(UnknownNameError, match="Did you mean 'spiral'"):
        registry.benchmark("spiralh", data=tmp_path)
    with pytest.raises(OptionError, match="no option longer_than"):
        registry.benchmark("spiral", data=tmp_path, longer_than=60)
    with pytest.raises(OptionError, match="needs data"):
        registry.benchmark("spiral")
    for name in registry.BENCHMARKS:
        assert registry.benchmark(name, data=tmp_path).__dataclass_params__.frozen
