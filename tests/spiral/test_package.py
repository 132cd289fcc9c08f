import json
from dataclasses import asdict

import datasets
import numpy as np
import pytest
import soundfile

from auricle.benchmarks.spiral import Spiral, read_samples
from auricle.errors import DataError
from auricle.files import write_json
from auricle.spiral.package import package
from auricle.spiral.schema import from_json
from auricle.spiral.synthesize import Voiced, paths
from auricle.synthesis.dialogue import SpokenSentence
from sets import spiral_record


@pytest.fixture
def samples():
    return tuple(from_json(spiral_record(f"set_{i}", i)) for i in range(3))


@pytest.fixture
def folder(tmp_path, samples):
    """Three voiced samples of 6 s."""
    for number, sample in enumerate(samples):
        wav, about = paths(tmp_path, sample.id)
        wav.parent.mkdir(exist_ok=True)
        soundfile.write(wav, np.full(6 * 24_000, 0.1 * (number + 1)), 24_000, subtype="PCM_16")
        said = [sentence for turn in sample.turns for sentence in turn.sentences]
        speakers = ("spk_1", "spk_1", "spk_2")
        sentences = tuple(
            SpokenSentence(speaker, text, 2.0 * i, 2.0 * i + 1.5)
            for i, (speaker, text) in enumerate(zip(speakers, said, strict=True))
        )
        voices = {"spk_1": "flite/slt", "spk_2": "flite/rms"}
        write_json(about, asdict(Voiced(sample.id, 6.0, 24_000, -23.0, voices, sentences, ((2.0, 3.5),))))
    return tmp_path


def test_a_package_is_read_as_the_published_set_with_its_times(folder, samples):
    made = package(samples, folder)
    assert made == folder / "package"
    assert read_samples(made) == samples
    found = list(Spiral(made).samples())
    assert [sample.evidence for sample in found] == [((2.0, 3.5),)] * 3
    assert found[2].load().size == 6 * 16_000
    record = json.loads((made / "data.jsonl").read_text().splitlines()[1])
    assert record["audio_data"]["key_sentences"] == {
        "speaker": "spk_1",
        "text": "It is green now.",
        "indices": [1, 2],
    }
    assert record["audio_data"]["combined"]["sentences"][1] == "It is green now."
    assert record["audio_data"]["sentence_times"] == [[0.0, 1.5], [2.0, 3.5], [4.0, 5.5]]


@pytest.mark.parametrize("how", ["by its card", "as an audio folder"])
def test_datasets_opens_a_package(folder, samples, how):
    try:
        import torchcodec  # noqa: F401
    except (ImportError, RuntimeError, OSError) as error:
        pytest.skip(f"datasets needs torchcodec for audio, which needs FFmpeg's libraries: {type(error).__name__}")
    made = str(package(samples, folder))
    if how == "by its card":
        opened = datasets.load_dataset(made, split="test", streaming=True)
    else:
        opened = datasets.load_dataset("audiofolder", data_dir=made, split="train", streaming=True)
    rows = list(opened.cast_column("audio", datasets.Audio(decode=False)))  # decoding needs torchcodec
    assert [row["id"] for row in rows] == ["set_0", "set_1", "set_2"]
    assert rows[1]["answer"] == "B"
    assert rows[1]["choices"] == ["red", "green", "blue", "grey"]
    assert rows[1]["evidence_start"] == 2.0
    assert rows[1]["audio"]["path"].endswith("set_1.wav")


def test_the_card_says_what_is_in_it(folder, samples):
    text = (package(samples, folder, "Paint") / "README.md").read_text()
    assert text.startswith('---\npretty_name: "Paint"\n')
    assert "| samples | 3 (meeting 2, conversation 1) |" in text
    assert "| right letters | A 1, B 1, C 1 |" in text
    assert "| voices | flite/slt 3, flite/rms 3 |" in text
    assert "right in 0.333 of the samples" in text


def test_a_package_is_replaced_whole(folder, samples):
    package(samples, folder)
    made = package(samples[:2], folder)
    assert sorted(path.name for path in (made / "wavs").iterdir()) == ["set_0.wav", "set_1.wav"]
    assert sorted(path.name for path in folder.iterdir()) == ["package", "speech"]


def test_what_is_not_voiced_is_not_packaged(folder, samples):
    paths(folder, "set_1")[0].unlink()
    with pytest.raises(DataError, match="'set_1' and 0 more are not voiced"):
        package(samples, folder)
    with pytest.raises(DataError, match="no samples"):
        package((), folder)
    assert not (folder / "package").exists()
