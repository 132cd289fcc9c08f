"""The programs in bench/: their sums, and that they run."""

import importlib.util
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import auricle
from auricle.audio import SAMPLE_RATE
from auricle.benchmarks.jsonl import Jsonl
from auricle.cost import Decoder
from auricle.errors import DataError
from auricle.models.mini.adapter import AuricleMini
from auricle.summarization.memory import Memory
from auricle.summarization.sst import new_sst, save_sst
from auricle.summarization.summarizer import Summarization
from auricle.training.voicing import VOICES
from fakes import FakeSpeechLM, random_tokens
from models import tiny_mini
from sets import write_spiral
from tiny_llama import TinyLlama
from training.fake_speech import fake_voice

BENCH = Path(__file__).parent.parent / "bench"
SAMPLE = {
    "id": "talk_1",
    "transcript": [
        {"speaker": "spk_1", "text": ["The boat is red.", "It lies in the harbor."]},
        {"speaker": "spk_2", "text": ["Good."]},
    ],
    "key_sentence": "It lies in the harbor.",
    "test_question": {
        "question": "Where does the boat lie?",
        "choices": {"A": "Harbor", "B": "Lake", "C": "Garage", "D": "River"},
        "correct_answer": "A",
    },
}


def module(name):
    spec = importlib.util.spec_from_file_location(f"bench_{name}", BENCH / f"{name}.py")
    loaded = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(loaded)
    return loaded


@pytest.fixture
def ear():
    return module("ear")


@pytest.fixture
def retrieval(monkeypatch, tmp_path):
    loaded = module("retrieval")
    (tmp_path / "data.jsonl").write_text(json.dumps(SAMPLE) + "\n" + json.dumps(SAMPLE | {"id": "talk_2"}) + "\n")
    monkeypatch.setattr(loaded, "DATA", tmp_path / "data.jsonl")
    monkeypatch.setattr(loaded, "voice", fake_voice)
    return loaded


def test_recall_counts_words_where_they_stand(ear):
    references, heard = ["the lantern is red", "a lantern"], ["the lantern red", "a latern"]
    assert ear.recall(references, heard, {"lantern"}) == (1, 2)
    assert ear.recall(references, heard, {"lantern", "red"}) == (2, 3)
    assert ear.recall(references, heard, set()) == (0, 0)


def test_a_set_is_heard_whole(ear, tmp_path):
    (said, first), (_, second) = ear.whole(write_spiral(tmp_path, count=2, seconds=3))
    assert said.split()
    assert len(first) == len(second) == 3 * SAMPLE_RATE


def test_the_interval_of_the_ear_holds_the_rate(ear):
    rng = np.random.default_rng(0)
    words = rng.integers(5, 20, 60)
    errors = rng.binomial(words, 0.2)
    text = ear.interval(errors.tolist(), words.tolist())
    rate, low, high = (float(word.strip("()")) for word in text.replace(" to ", " ").split())
    assert rate == pytest.approx(errors.sum() / words.sum(), abs=6e-4)
    assert low < rate < high
    assert 0.05 < high - low < 0.15
    assert ear.interval([0, 0], [3, 4]) == "0.000"
    assert ear.interval([1], [4]) == "0.250"


def test_the_ear_hears_all_sentences_in_recordings(ear):
    texts, waveforms = [str(i) for i in range(9)], [np.full(SAMPLE_RATE * 6, 0.1 + i, np.float32) for i in range(9)]
    said, heard = zip(*ear.recordings(texts, waveforms), strict=True)
    assert said == ("0 1 2 3", "4 5 6 7", "8")
    assert [len(each) / SAMPLE_RATE for each in heard] == pytest.approx([25.6, 25.6, 6.4])
    whole = np.concatenate(heard)
    np.testing.assert_array_equal(whole[whole > 0], np.concatenate(waveforms))


def test_words_of_training_are_known(ear, tmp_path):
    (tmp_path / "shard-0000.json").write_text(json.dumps([[{"text": "A Quizzacious lamp.", "start": 0, "end": 1}]]))
    known = ear.trained_words(tmp_path)
    assert {"quizzacious", "lamp", "the"} <= known
    assert "quizzacious" not in ear.trained_words(tmp_path / "nothing")


def test_the_interval_of_retrieval(retrieval):
    assert retrieval.interval({"a": [1.0, 1.0], "b": [1.0, 1.0]}) == "1.000"
    rng = np.random.default_rng(0)
    text = retrieval.interval({str(i): [float(rng.random() < 0.5)] * 2 for i in range(48)})
    mean, low, high = (float(word.strip("()")) for word in text.replace(" to ", " ").split())
    assert low < mean < high
    assert 0.2 < high - low < 0.35  # as of 48 samples, not of 96


def test_key_sentences_are_where_they_are_said(retrieval, tmp_path):
    found = list(retrieval.recordings(["flite/slt", "flite/awb"], tmp_path, tmp_path / "work", 0))
    assert [sample["id"] for sample, *_ in found] == ["talk_1", "talk_1", "talk_2", "talk_2"]
    for _, wav, (start, end) in found:
        assert end - start == pytest.approx(5 * 0.3, abs=0.05)  # its words, behind the first sentence
        assert start > 4 * 0.3
        waveform = auricle.load_audio(wav)
        assert waveform[int(start * SAMPLE_RATE) : int(end * SAMPLE_RATE)].std() > 0.01
        around = waveform[int((start - 0.1) * SAMPLE_RATE) : int(start * SAMPLE_RATE) - 100]
        assert np.abs(around).max() < 1e-3
    stamps = [wav.stat().st_mtime_ns for _, wav, _ in found]
    again = list(retrieval.recordings(["flite/slt", "flite/awb"], tmp_path, tmp_path / "work", 0))
    assert [wav.stat().st_mtime_ns for _, wav, _ in again] == stamps
    assert [span for *_, span in again] == [span for *_, span in found]


@pytest.mark.parametrize("what", ["recall", "answers"])
def test_retrieval_runs(retrieval, what, monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(auricle, "load", lambda _: FakeSpeechLM())
    arguments = [what, "--voices-files", str(tmp_path), "--work", str(tmp_path / "work")]
    methods = ["full", "SpeechPrune 0.6", "RandomCrop 0.6"]
    monkeypatch.setattr("sys.argv", ["retrieval.py", *arguments, "--methods", *methods])
    retrieval.main()
    head, _, *rows = capsys.readouterr().out.splitlines()
    assert head.split(" | ")[1] == "tokens kept"
    cells = [row.strip("| ").split(" | ") for row in rows]
    assert [cell[0] for cell in cells] == methods
    assert [float(cell[1]) for cell in cells] == pytest.approx([1.0, 0.4, 0.4], abs=0.01)
    if what == "recall":
        assert cells[0][2] == "1.000"


def test_kept_words_counts_what_is_kept(monkeypatch, tmp_path, capsys):
    """The fake's tokens are all different, so that one of them counts as the blank and all others as words."""
    monkeypatch.setattr(auricle, "load", lambda _: FakeSpeechLM())
    monkeypatch.setattr(
        "sys.argv", ["kept_words.py", "--data", str(write_spiral(tmp_path, 2, seconds=20.0)), "--step", "1"]
    )
    module("kept_words").main()
    head, _, _, _, _, *rows = capsys.readouterr().out.splitlines()
    assert head.startswith("2 samples; ")
    cells = {row[0]: row[1:] for row in (line.strip("| ").split(" | ") for line in rows)}
    assert {"full", "first30", "phase 1 0.2", "phase 2 0.8", "random-crop 0.4"} <= cells.keys()
    assert cells["full"][:3] == ["1.000"] * 3
    tokens, words, _, among, distinct = map(float, cells["random-pieces 0.6"])
    assert tokens == pytest.approx(0.4, abs=0.02)
    assert words == pytest.approx(tokens, abs=0.02)
    assert among > 0.97
    assert distinct == pytest.approx(tokens * float(cells["full"][4]), abs=1)


def test_every_method_of_the_table_is_made(retrieval):
    table = retrieval.methods(3)
    assert len(table) == 2 + 4 * 6
    assert table["RandomCrop 0.4"] == auricle.RandomCrop(0.4, 3)
    assert table["SpeechPrune, phase 2 0.8"] == auricle.SpeechPrune(0.8, phase="attention")


def test_the_authored_samples_are_whole(retrieval, ear):
    samples = [json.loads(line) for line in ear.DATA.read_text().splitlines()]
    for sample in samples:
        said = [sentence for turn in sample["transcript"] for sentence in turn["text"]]
        assert said.count(sample["key_sentence"]) == 1
        assert sample["test_question"]["correct_answer"] in sample["test_question"]["choices"]
    assert len({sample["id"] for sample in samples}) == len(samples)
    assert len(ear.sentences()) > 200


def test_the_ear_is_measured_in_voices_of_training_and_in_others(ear):
    assert set(ear.TRAINED) <= VOICES.keys()
    styles = {style for name in VOICES for style in name.partition("/")[2].split("+")}
    assert not {name.partition("/")[2] for name in ear.UNSEEN} & styles


def test_lengths_keep_the_sample_and_cut_around_its_evidence(monkeypatch, tmp_path, capsys):
    lengths = module("lengths")
    data = write_spiral(tmp_path / "set", 5, seconds=45.0)
    samples = list(lengths.Spiral(data).samples())
    tokens = {each.id: random_tokens(562, seed=i) for i, each in enumerate(samples)}
    for sample in samples:
        sample = replace(sample, evidence=((33.0, 36.0),))  # noqa: PLW2901 - the set's own lies early
        found = lengths.recordings(tokens, sample, 0)
        assert [len(found[count]) for count in (0, 1, 2, 3, 4)] == [375, 562, 1124, 1686, 2248]
        own = tokens[sample.id].embeds
        for count in (1, 2, 3, 4):
            starts = (found[count].embeds[:, 0] == own[0, 0]).nonzero()[:, 0].tolist()
            assert any(torch.equal(found[count].embeds[at : at + 562], own) for at in starts)
        times = found[0].times
        assert float(times[0, 0]) <= 33.0
        assert float(times[-1, 1]) >= 36.0
    monkeypatch.setattr(lengths.auricle, "load", lambda _: FakeSpeechLM())
    monkeypatch.setattr("sys.argv", ["lengths.py", str(data), "--samples", "4"])
    lengths.main()
    table = capsys.readouterr().out.splitlines()
    assert [line.split("|")[2].strip() for line in table[2:]] == ["30", "45", "90", "135", "180"]


@pytest.fixture
def tiny(monkeypatch, tmp_path):
    """A tiny model, and SSTs of it."""
    lm = AuricleMini(tiny_mini.model(), tiny_mini.processor(), "auricle-mini")
    lm.model.generation_config.eos_token_id = 2
    save_sst(new_sst(lm), tmp_path / "sst", Summarization())
    return lm


def test_lengths_of_summaries(monkeypatch, tmp_path, capsys, tiny):
    lengths = module("lengths")
    data = write_spiral(tmp_path / "set", 4, seconds=40.0)
    monkeypatch.setattr(lengths.auricle, "load", lambda _: tiny)
    arguments = ["--samples", "4", "--summarize", "4", "8", "--sst", str(tmp_path / "sst")]
    monkeypatch.setattr("sys.argv", ["lengths.py", str(data), *arguments])
    lengths.main()
    table = capsys.readouterr().out.splitlines()
    assert table[0] == "| recordings | seconds | Speech-XL 4 | Speech-XL 8 |"
    assert len(table) == 7


def test_hours_measure_memory_and_seconds(monkeypatch, tmp_path, capsys, tiny):
    hours = module("hours")
    data = write_spiral(tmp_path / "set", 4, seconds=40.0)
    monkeypatch.setattr(hours.auricle, "load", lambda _: tiny)
    sst = tmp_path / "sst"
    loaded, load = [], Memory.load
    monkeypatch.setattr(Memory, "load", lambda path: loaded.append(load(path)) or loaded[-1])
    with monkeypatch.context() as patch:
        patch.setattr(hours, "Decoder", None)  # nothing that fits is computed
        cells = {name: hours.measure(data, name, 1.5, 8, sst, 0) for name in (*hours.PRUNERS, hours.SUMMARY)}
    assert {each.tokens for each in cells.values()} == {1125}
    assert [each.seen for each in cells.values()][:2] == [1125, 150]
    full, pruned, summary = cells.values()
    assert summary.seen <= 141
    assert summary.megabytes / full.megabytes == pytest.approx(summary.seen / 1125)
    assert min(full.first, pruned.first, summary.first, summary.summary, summary.peak) > 0
    assert (full.summary, pruned.summary, full.loaded, pruned.loaded) == (0, 0, None, None)
    assert summary.loaded > 0
    assert [each.nbytes for each in loaded] == [summary.megabytes * 1e6] * 3
    assert full.megabytes * 1e6 == Decoder.of(tiny.model.config).kv(1125, 4)
    assert pruned.megabytes * 1e6 == pytest.approx(full.megabytes * 1e6 * 150 / 1125)
    tiny.model.config.get_text_config().max_position_embeddings = 200
    long = [hours.measure(data, name, 1.5, ratio, sst, 0) for name, ratio in (("full", 8), (hours.SUMMARY, 1))]
    assert [(each.first, each.loaded, each.megabytes) for each in long] == [(None, None, full.megabytes)] * 2
    with pytest.raises(ValueError, match="not enough"):
        hours.measure(data, "full", 9, 8, sst, 0)


def test_searchlight_with_all_parts_is_the_product(monkeypatch, tmp_path, capsys):
    bench = module("searchlight")
    lm, tokens = TinyLlama(num_hidden_layers=12), random_tokens(700, dim=32)
    query = lm.query("When does the ferry leave?", ["at noon", "at dawn"])
    whole = dict(bench.choices(lm, tokens, query, 150))
    product = auricle.Searchlight(0.6).keep(tokens, query, lm)
    assert torch.equal(whole["all parts (Searchlight)"].sort().values, product)
    without = auricle.Searchlight(0.6, choices=False).keep(tokens, query, lm)
    assert torch.equal(whole["without the choices"].sort().values, without)
    assert all(len(chosen.unique()) == len(chosen) <= 150 for chosen in whole.values())
    assert {len(whole[name]) for name in bench.VARIANTS} == {150}
    data = write_spiral(tmp_path / "set", 3, seconds=40.0)
    monkeypatch.setattr(bench.auricle, "load", lambda _: lm)
    monkeypatch.setattr("sys.argv", ["searchlight.py", str(data), "--rates", "0.6", "0.8"])
    bench.main()
    table = capsys.readouterr().out.splitlines()
    assert table[0] == "| variant | rate 0.6 (tokens) | rate 0.8 (tokens) |"
    assert len(table) == 2 + len(whole)


@pytest.mark.parametrize("kind", ["gist", "vague", "noise", "paraphrase"])
def test_hard_questions_are_a_set_that_can_be_asked(monkeypatch, tmp_path, kind):
    hard = module("hard_questions")
    data = write_spiral(tmp_path / "set", 5, seconds=4.0)
    plain = list(hard.Spiral(data).samples())
    topics = {each.id: f"topic {number}" for number, each in enumerate(plain)}
    monkeypatch.setattr(hard, "topic", lambda sample: topics[sample.id])
    monkeypatch.setattr(hard, "paraphrases", lambda: {plain[0].question: "How is the hut painted?"})
    out = tmp_path / "out"
    monkeypatch.setattr("sys.argv", ["hard_questions.py", str(data), kind, "-o", str(out), "--samples", "3"])
    hard.main()
    made = list(Jsonl(out / "data.jsonl").samples())
    assert [each.id for each in made] == [each.id for each in plain[:3]]
    for each, own in zip(made, plain, strict=False):
        same = np.array_equal(each.load(), own.load())
        assert same == (kind != "noise")
        if kind == "gist":
            assert each.question == hard.GIST
            assert each.choices[each.correct] == topics[own.id]
            assert len(set(each.choices)) == 4
            assert each.evidence == ()
        else:
            asked = {"vague": hard.VAGUE, "noise": own.question, "paraphrase": "How is the hut painted?"}
            assert each.question == asked[kind]
            assert (each.choices, each.correct, each.evidence) == (own.choices, own.correct, own.evidence)


def test_a_paraphrase_is_of_its_question_alone(monkeypatch, tmp_path):
    hard = module("hard_questions")
    authored = {each.id: each.test.question for each in hard.read_samples(hard.SIR / "authored.jsonl")}
    paraphrased = hard.paraphrases()
    assert set(paraphrased) == set(authored.values())
    own = next(hard.Spiral(write_spiral(tmp_path / "set", 1, seconds=4.0)).samples())
    known = replace(own, id="lecture_107", question=authored["lecture_107"])
    assert hard.question("paraphrase", known, paraphrased) == (
        "Who discovered the largest piece of the Brannoch meteorite?"
    )
    with pytest.raises(DataError, match=r"'lecture_107', asked 'Which color.*authored.jsonl"):
        hard.question("paraphrase", replace(own, id="lecture_107"), paraphrased)
    out = tmp_path / "out"
    monkeypatch.setattr("sys.argv", ["hard_questions.py", str(tmp_path / "set"), "paraphrase", "-o", str(out)])
    with pytest.raises(DataError, match=r"'set_0'.*has no paraphrase"):
        hard.main()
    assert not out.exists()


def test_noise_is_as_far_under_the_speech_as_was_asked():
    hard = module("hard_questions")
    speech = np.concatenate([np.zeros(8000), 0.1 * np.sin(np.arange(16000) / 7)]).astype(np.float32)
    noise = hard.noisy(speech, 20.0, 3) - speech
    measured = 10 * np.log10(np.mean(speech[np.abs(speech) > 1e-3] ** 2) / np.mean(noise**2))
    assert measured == pytest.approx(20.0, abs=0.2)
    loud = hard.noisy(speech * 9, 0.0, 3)
    assert np.abs(loud).max() == pytest.approx(1.0)
