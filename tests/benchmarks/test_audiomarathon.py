import json
import random

import pytest

from auricle.benchmarks.audiomarathon import AudioMarathon, balanced
from auricle.errors import DataError, UnknownNameError
from layouts import put, write_audiomarathon


@pytest.fixture
def folder(tmp_path):
    return write_audiomarathon(tmp_path / "set")


def of(folder, task):
    return list(AudioMarathon(folder, (task,)).samples())


def right(sample):
    return sample.choices[sample.correct]


@pytest.mark.filterwarnings("ignore:1 of the transcripts of the 4 recordings of ASR")
def test_every_task_has_its_samples_and_its_scorer(folder):
    counted = {}
    for sample in AudioMarathon(folder).samples():
        counted[sample.task] = counted.get(sample.task, 0) + 1
        assert len(sample.load()) == 16000
    assert counted == {
        "SER": 2, "SCR": 1, "ASR": 3, "SED": 1, "MC": 2, "ASC": 1, "SD": 4, "ER": 2, "SAR": 2, "SGR": 6,
    }  # fmt: skip
    assert tuple(AudioMarathon.SCORERS) == tuple(counted)


def test_lists_with_letters(folder):
    first, second = of(folder, "SER")
    assert (first.question, first.choices, right(first)) == ("Which?", ("one", "two", "three", "four"), "four")
    assert right(second) == "one"
    assert first.recording == "SLUE/a/0.wav"
    assert right(of(folder, "SCR")[0]) == "r"
    (heard,) = of(folder, "SED")
    assert (heard.choices, right(heard)) == (("t", "u", "v", "w"), "u")
    assert right(of(folder, "ASC")[0]) == "two"


def test_music_lies_in_wav_or_beside_it(folder):
    assert [each.recording for each in of(folder, "MC")] == [
        "GTZAN/concatenated_audio/wav/c/0.wav",
        "GTZAN/concatenated_audio/c/1.wav",
    ]


def test_the_happiness_of_two_speakers_is_left_out(folder):
    assert [each.id for each in of(folder, "ER")] == ["ER/3", "ER/4"]


def test_ages_are_given_as_text(folder):
    assert [right(each) for each in of(folder, "SAR")] == ["Young (18-30)", "Early (31-40)"]
    assert len(of(folder, "SAR")[0].choices) == 5


def test_as_many_of_both_genders_drawn_as_the_scripts_do(folder):
    random.seed(42)
    men = random.sample([f"id{i}" for i in range(5)], 3)
    expected = [*men, "id5", "id6", "id7"]
    random.shuffle(expected)
    found = of(folder, "SGR")
    assert [each.recording.split("/")[-2] for each in found] == expected
    assert [right(each) for each in found].count("male") == 3


def test_as_many_real_as_fake(folder):
    random.seed(42)
    place = "HAD/concatenated_audio/{0}/HAD_train_{0}_{1}.wav"
    expected = random.sample([place.format("real", i) for i in range(4)], 2)
    expected += [place.format("fake", i) for i in range(2)]
    random.shuffle(expected)
    found = of(folder, "SD")
    assert [each.recording for each in found] == expected
    assert all(right(each) in each.recording for each in found)
    assert {each.choices for each in found} == {("real", "fake")}


def test_the_second_list_is_drawn_after_the_first():
    random.seed(42)
    expected = [1, 2, *random.sample(list(range(10, 15)), 2)]
    random.shuffle(expected)
    assert balanced([1, 2], list(range(10, 15))) == expected


def test_transcripts_stand_alone_or_in_the_chapters_file(folder):
    with pytest.warns(UserWarning, match="1 of the transcripts of the 4 recordings of ASR are not in"):
        found = of(folder, "ASR")
    assert {each.id: each.reference for each in found} == {
        "ASR/10-7-0001": "ONE ZERO",
        "ASR/10-7-00010": "TEN ZEROS",
        "ASR/9-3-0000": "ALL OF\nIT",
    }
    assert [each.id for each in found] == ["ASR/10-7-0001", "ASR/10-7-00010", "ASR/9-3-0000"]
    assert (found[0].choices, found[0].max_new_tokens) == ((), 1100)


def test_missing_recordings_are_left_out_and_said(folder):
    (folder / "VoxCeleb/concatenated_audio/wav/id0/0.wav").unlink()
    with pytest.warns(UserWarning, match="1 of the 8 recordings of SGR"):
        assert "id0" not in str(of(folder, "SGR"))
    (folder / "SLUE/a/0.wav").unlink()
    with pytest.raises(DataError, match="none of the 2 recordings of SER"):
        of(folder, "SER")


def change(folder, file, **fields):
    rows = json.loads((folder / file).read_text())
    put(folder / file, [{**rows[0], **fields}, *rows[1:]])


def test_choices_keep_their_letters(folder):
    change(folder, "SLUE/merged_audio_data.json", choice_a=0, choice_b=1, choice_c=2, choice_d=3, answer_gt="b ")
    first = of(folder, "SER")[0]
    assert (first.choices, right(first)) == (("0", "1", "2", "3"), "1")
    change(folder, "SLUE/merged_audio_data.json", choice_d=None, choice_c="B", answer_gt="B")
    first = of(folder, "SER")[0]
    assert (len(first.choices), first.correct) == (3, 1)
    change(folder, "SLUE/merged_audio_data.json", choice_a="", answer_gt="B")
    first = of(folder, "SER")[0]
    assert (first.choices[0], first.correct) == ("", 1)


def test_incomplete_rows_are_left_out_where_the_scripts_do(folder):
    change(folder, "GTZAN/concatenated_audio/music_genre_classification_meta.json", answer_gt=None)
    assert [each.id for each in of(folder, "MC")] == ["MC/2"]
    change(folder, "SLUE/merged_audio_data.json", answer_gt=None)
    with pytest.raises(DataError, match="answer of sample SER/1 is None"):
        of(folder, "SER")


def test_paths_may_be_written_otherwise(folder):
    change(folder, "SLUE/merged_audio_data.json", path="./a//0.wav")
    assert of(folder, "SER")[0].recording == "SLUE/a/0.wav"


def test_both_genders_are_needed(folder):
    meta = "VoxCeleb/concatenated_audio/gender_id_task_meta.json"
    change(folder, meta, answer_gt="m")
    with pytest.raises(DataError, match="answer of sample SGR/1 is 'm'"):
        of(folder, "SGR")
    rows = json.loads((folder / meta).read_text())
    put(folder / meta, [row for row in rows if row["answer_gt"] == "Male"])
    with pytest.raises(DataError, match="all of one answer_gt"):
        of(folder, "SGR")
    del rows[0]["answer_gt"]
    put(folder / meta, rows)
    with pytest.raises(DataError, match="SGR/1 is not as published"):
        of(folder, "SGR")


def test_hidden_and_nested_recordings_are_none(folder):
    before = of(folder, "SD")
    real = folder / "HAD/concatenated_audio/real"
    (real / "sub").mkdir()
    for name in ("._x.wav", "sub/y.wav"):
        (real / name).write_bytes((real / "HAD_train_real_0.wav").read_bytes())
    assert [each.id for each in of(folder, "SD")] == [each.id for each in before]


def test_what_is_not_as_published_is_named(folder):
    with pytest.raises(UnknownNameError, match="no task 'WER'"):
        AudioMarathon(folder, ("WER",))
    (folder / "TAU/concatenated_resampled/acoustic_scene_task_meta.json").unlink()
    with pytest.raises(DataError, match=r"acoustic_scene_task_meta.json' \(ASC\); name the tasks"):
        of(folder, "ASC")
    put(folder / "SLUE/merged_audio_data.json", {"tasks": []})
    with pytest.raises(DataError, match="expected a list of objects"):
        of(folder, "SER")
    rows = json.loads((folder / "race_audio/race_benchmark.json").read_text())
    del rows[0]["options"]
    put(folder / "race_audio/race_benchmark.json", rows)
    with pytest.raises(DataError, match="Sample SCR/1 is not as published"):
        of(folder, "SCR")
    for path in (folder / "HAD/concatenated_audio/fake").iterdir():
        path.unlink()
    with pytest.raises(DataError, match="none in 'fake'"):
        of(folder, "SD")
