import numpy as np
import pytest

from auricle.benchmarks.audiomarathon import AudioMarathon
from auricle.benchmarks.longspeech import LongSpeech
from auricle.benchmarks.published import mean_of_tasks, published

TASKS = tuple(AudioMarathon.SCORERS)


def test_means_of_the_published_rows_are_the_published_means():
    rows = [row for row in published("audiomarathon") if len(row.values) == len(TASKS)]
    assert len(rows) >= 5
    for row in rows:
        found = mean_of_tasks(row.values, TASKS)
        assert found == pytest.approx(np.mean([row.values[task] for task in TASKS]))
        assert found == pytest.approx(row.mean, abs=0.1), row.name


def test_speech_xl_is_as_listed():
    marathon = {row.name: row for row in published("audiomarathon")}["Speech-XL"]
    assert (marathon.values, marathon.mean) == ({"SER": 31.1, "SED": 53.4, "SD": 33.3}, 54.7)
    speech = {row.name: row for row in published("longspeech")}["Speech-XL"]
    assert speech.values == {
        "ASR": 11.4,
        "summary": 49.72,
        "speaker_count": 84.72,
        "content_separation": 72.84,
        "emotionQA": 51.94,
        "Temporal_Relative_QA": 16.09,
    }


def test_every_row_has_a_source_and_known_tasks():
    for name, tasks in (("audiomarathon", TASKS), ("longspeech", tuple(LongSpeech.SCORERS))):
        for row in published(name):
            assert row.source
            assert set(row.values) <= set(tasks)


def test_there_is_no_mean_of_some():
    assert mean_of_tasks({"SER": 1.0}, TASKS) is None
    assert mean_of_tasks({"SER": 1.0, "SCR": None}, ("SER", "SCR")) is None
    assert mean_of_tasks({"SER": 1.0, "SCR": 2.0}, ("SER", "SCR")) == 1.5
    assert published("spiral") == ()
