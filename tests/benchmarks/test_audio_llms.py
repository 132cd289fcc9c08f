import io

import pyarrow
import pyarrow.parquet
import pytest
import soundfile

from auricle.audio import SAMPLE_RATE
from auricle.benchmarks.audio_llms import CNCollegeListen, DreamTTS, split_choices
from auricle.errors import AudioError, DataError
from fakes import noise


def write(path, seconds=(10.0, 70.0, 61.0), **columns):
    def encoded(duration):
        file = io.BytesIO()
        soundfile.write(file, noise(duration), SAMPLE_RATE, format="FLAC")
        return {"bytes": file.getvalue(), "path": "x.flac"}

    count = len(seconds)
    table = {
        "context": [encoded(duration) for duration in seconds],
        "instruction": [f"What is said in {i}?" for i in range(count)],
        "choices": ["(A) at home. (B) at work. (C) on the way."] * count,
        "answer": ["(B) at work."] * count,
        "other_attributes": [""] * count,
    } | columns
    pyarrow.parquet.write_table(pyarrow.table({k: v for k, v in table.items() if v is not None}), path)
    return path


@pytest.mark.parametrize("kind", [DreamTTS, CNCollegeListen])
def test_parquet_with_audio_is_read(tmp_path, kind):
    samples = list(kind(write(tmp_path / "test.parquet")).samples())
    assert [sample.id for sample in samples] == ["0", "1", "2"]
    assert samples[0].choices == ("at home.", "at work.", "on the way.")
    assert samples[0].correct == 1
    assert samples[0].question == "What is said in 0?"
    assert samples[1].load().size == 70 * SAMPLE_RATE


def test_only_recordings_longer_than_a_minute(tmp_path):
    write(tmp_path / "test.parquet")
    assert [sample.id for sample in DreamTTS(tmp_path, longer_than=60.0).samples()] == ["1", "2"]
    assert [sample.id for sample in DreamTTS(tmp_path, longer_than=61.0).samples()] == ["1"]


def test_questions_about_one_recording_are_a_cluster_and_broken_audio_is_its_own_error(tmp_path):
    path = write(tmp_path / "test.parquet", seconds=(2.0, 2.0, 3.0))
    samples = list(DreamTTS(path).samples())
    assert samples[0].recording == samples[1].recording != samples[2].recording
    context = [{"bytes": b"RIFF", "path": "x.wav"}]
    path = write(tmp_path / "broken.parquet", seconds=(1.0,), context=context)
    broken = next(DreamTTS(path, longer_than=60.0).samples())
    with pytest.raises(AudioError, match="row 0"):
        broken.load()


@pytest.mark.parametrize(
    ("listed", "choices"),
    [
        ("(A) one (B) two (C) three", ("one", "two", "three")),
        ("A. one\nB. two\nC. three", ("one", "two", "three")),
        ("A) one; B) two", ("one", "two")),
        ("(A) Vitamin A. (B) Vitamin C. (C) Both of A. and C.", ("Vitamin A.", "Vitamin C.", "Both of A. and C.")),
    ],
)
def test_choices_in_one_string(listed, choices):
    assert split_choices(listed) == choices


@pytest.mark.parametrize("listed", ["", "one, two", "(A) one", "(A) (B) two"])
def test_choices_that_cannot_be_split_are_refused(listed):
    with pytest.raises(DataError, match="cannot be split"):
        split_choices(listed)


def test_what_is_no_such_set_is_refused(tmp_path):
    with pytest.raises(DataError, match="no parquet file"):
        list(DreamTTS(tmp_path).samples())
    with pytest.raises(DataError, match="no column answer"):
        list(DreamTTS(write(tmp_path / "x.parquet", answer=None)).samples())
    (tmp_path / "y.parquet").write_text("no parquet")
    with pytest.raises(DataError, match="cannot be read as parquet"):
        list(DreamTTS(tmp_path / "y.parquet").samples())
