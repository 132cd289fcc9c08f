import json

import fsspec
import pytest

from auricle import registry
from auricle.benchmarks.longspeech import LongSpeech
from auricle.errors import AudioError, DataError, UnknownNameError
from layouts import TASKS, longspeech_row, put, write_longspeech


@pytest.fixture
def folder(tmp_path):
    return write_longspeech(tmp_path / "set")


def test_all_tasks_are_read_as_they_are_published(folder):
    samples = list(LongSpeech(folder).samples())
    assert [each.id for each in samples] == [f"{task}/{number}" for task in TASKS for number in (1, 2)]
    first = samples[0]
    assert (first.question, first.reference, first.task) == ("Do ASR.", "it is green", "ASR")
    assert (first.choices, first.correct, first.max_new_tokens) == ((), -1, 4096)
    assert first.recording == "LongSpeech_p1/wavs/part_00/000000.wav"
    assert first.groups == {"language": "en"}
    assert len(first.load()) == 16000
    by_task = {each.task: each for each in samples}
    assert by_task["translation"].groups == {"language": "de"}
    assert by_task["content_separation"].reference == "3"
    assert by_task["emotionQA"].max_new_tokens == 32
    assert set(LongSpeech.SCORERS) == set(TASKS)


def test_tasks_are_chosen_in_the_benchmarks_order(folder):
    some = LongSpeech(folder, ("summary", "ASR"))
    assert [each.id for each in some.samples()] == ["ASR/1", "ASR/2", "summary/1", "summary/2"]
    with pytest.raises(UnknownNameError, match=r"no task 'sumary'\. Did you mean 'summary'"):
        LongSpeech(folder, ("sumary",))


def test_rows_may_be_packed_otherwise(folder):
    row = longspeech_row("ASR", "hello", "LongSpeech_p1/wavs/part_00/000000.wav")
    row["messages"][0]["content"] = ["Say it."]
    packed = {**row, "messages": json.dumps(row["messages"])}
    put(folder / "LongSpeechQA/ASR/val.jsonl", json.dumps(packed) + "\r\n\n")
    (sample,) = LongSpeech(folder, ("ASR",), "val").samples()
    assert (sample.question, sample.reference) == ("Say it.", "hello")


def test_what_is_not_there_is_named(folder, tmp_path):
    (folder / "LongSpeechQA/summary/test.jsonl").unlink()
    with pytest.raises(DataError, match=r"has no 'LongSpeechQA/summary/test.jsonl'; name the tasks"):
        list(LongSpeech(folder).samples())
    with pytest.raises(DataError, match="no folder"):
        list(LongSpeech(tmp_path / "nowhere").samples())
    put(folder / "LongSpeechQA/ASR/test.jsonl", "\n")
    with pytest.raises(DataError, match="is empty; leave its task out"):
        list(LongSpeech(folder, ("ASR",)).samples())
    put(folder / "LongSpeechQA/ASR/test.jsonl", '{"language": "en", "messages": [{"role": "user"}]}\n')
    with pytest.raises(DataError, match="Line 1 of the task ASR is not as published"):
        list(LongSpeech(folder, ("ASR",)).samples())
    row = longspeech_row("ASR", "hello", "LongSpeech_p1/wavs/gone.wav")
    put(folder / "LongSpeechQA/ASR/test.jsonl", json.dumps(row))
    (sample,) = LongSpeech(folder, ("ASR",)).samples()
    with pytest.raises(AudioError, match="no recording"):
        sample.load()


@pytest.mark.parametrize(
    ("content", "said"),
    [("2 ", "2"), (2, "2"), (["two"], "two"), ([{"type": "text", "text": "two"}], "two"), (None, None), ([], None),
     (["a", "b"], None), ({"text": "two"}, None), (True, None)],
)  # fmt: skip
def test_a_message_is_a_text_or_a_number(folder, content, said):
    row = longspeech_row("speaker_count", content, "LongSpeech_p1/wavs/part_00/000000.wav")
    put(folder / "LongSpeechQA/speaker_count/test.jsonl", json.dumps(row))
    samples = LongSpeech(folder, ("speaker_count",)).samples()
    if said is None:
        with pytest.raises(DataError, match="Line 1 of the task speaker_count"):
            next(samples)
    else:
        assert next(samples).reference == said


def test_a_folder_may_have_any_name(folder):
    odd = folder.rename(folder.parent / "my data #1 ü 100%")
    assert len(next(iter(LongSpeech(odd, ("ASR",)).samples())).load()) == 16000


def test_recordings_are_fetched_one_at_a_time_from_elsewhere(folder):
    """A file system in memory stands in for the hub, which `fsspec` opens in the same way."""
    memory = fsspec.filesystem("memory")
    memory.put(str(folder), "/far", recursive=True)
    try:
        far = LongSpeech("memory://far", ("ASR",))
        near = LongSpeech(folder, ("ASR",))
        opened = []
        fetch = memory.get_file
        memory.get_file = lambda path, *rest: (opened.append(path), fetch(path, *rest))
        samples = list(far.samples())
        assert opened == []
        assert [each.reference for each in samples] == [each.reference for each in near.samples()]
        assert (samples[1].load() == list(near.samples())[1].load()).all()
        assert [path.rsplit("/", 1)[1] for path in opened] == ["000001.wav"]
        memory.rm(opened[0])
        with pytest.raises(AudioError, match="cannot be fetched"):
            samples[1].load()
        with pytest.raises(DataError, match="no data set 'memory://near'"):
            list(LongSpeech("memory://near").samples())
        memory.info = lambda path, **_: (_ for _ in ()).throw(RuntimeError("busy\nvery"))
        with pytest.raises(DataError, match=r"cannot be reached \(busy\)"):
            list(LongSpeech("memory://far").samples())
    finally:
        for name in ("get_file", "info"):
            memory.__dict__.pop(name, None)
        memory.rm("/far", recursive=True)


def test_a_hub_id_is_opened_as_a_data_set_of_the_hub(monkeypatch):
    asked = []

    def refuse(url):
        asked.append(url)
        raise ConnectionAbortedError("no network")

    monkeypatch.setattr(fsspec.core, "url_to_fs", refuse)
    with pytest.raises(DataError, match=r"'ATH-MaaS/Marco_Longspeech' cannot be reached \(no network\)"):
        list(registry.benchmark("longspeech").samples())
    assert asked == ["hf://datasets/ATH-MaaS/Marco_Longspeech"]


def test_a_set_that_stands_in_says_so(folder):
    assert LongSpeech(folder).note == ""
    put(folder / "fixture.json", {"note": "This is not it."})
    assert LongSpeech(folder).note == "This is not it."
    put(folder / "fixture.json", "{")
    with pytest.raises(DataError, match="is damaged"):
        _ = LongSpeech(folder).note
