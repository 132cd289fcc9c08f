"""`auricle summarize`, and `auricle ask` of what it wrote."""

import json

import numpy as np
import pytest
import soundfile
import torch

from auricle import loading
from auricle.asking import encode
from auricle.audio import SAMPLE_RATE
from auricle.audio import load as load_audio
from auricle.benchmarks.base import Sample
from auricle.errors import OptionError
from auricle.evaluation.methods import Method
from auricle.evaluation.run import Asking, Plan
from auricle.models.mini.adapter import AuricleMini
from auricle.models.qwen2_audio import Qwen2Audio
from auricle.pruning.fastv import FastV
from auricle.pruning.uniform import Uniform
from auricle.summarization import asking, summarizer
from auricle.summarization.memory import Memory
from auricle.summarization.sst import new_sst, save_sst
from auricle.summarization.summarizer import Summarization, Summarizer
from fakes import FakeSpeechLM, noise
from models import tiny, tiny_mini

CHOICES = ("--choice", "the boat", "--choice", "a lamp")


@pytest.fixture
def lm(monkeypatch):
    built = AuricleMini(tiny_mini.model(), tiny_mini.processor(), "auricle-mini")
    built.model.generation_config.eos_token_id = 2
    monkeypatch.setattr(loading, "load", lambda *_, **__: built)
    return built


@pytest.fixture
def sst(lm, tmp_path):
    torch.manual_seed(0)
    made = new_sst(lm, 2)
    torch.nn.init.normal_(made.layers[0]["k_proj"].up.weight)
    save_sst(made, tmp_path / "sst", Summarization(silence="read"))
    return tmp_path / "sst"


@pytest.fixture
def audio(tmp_path):
    soundfile.write(tmp_path / "one.wav", noise(20), SAMPLE_RATE)
    return tmp_path / "one.wav"


def test_a_recording_is_summarized_once_and_asked_often(lm, sst, audio, run, tmp_path, monkeypatch):
    memory = tmp_path / "one.memory"
    code, out, err = run("summarize", audio, "-o", memory, "--compression-ratio", 4, "--sst", sst, "--json")
    assert (code, err) == (0, "")
    said = json.loads(out)
    kept = Memory.load(memory)
    assert said["ssts"] == len(kept) == -(-said["speech_tokens"] // 4)
    assert (said["compression_ratio"], said["model"], said["duration"]) == (4, "auricle-mini", 20.0)
    assert said["nbytes"] == kept.nbytes
    code, out, _ = run("ask", audio, "Where?", *CHOICES, "--summarize", 4, "--sst", sst, "--json")
    both = json.loads(out)
    monkeypatch.setattr(lm, "_encode_windows", None)  # asking a memory encodes nothing
    code, out, err = run("ask", memory, "Where?", *CHOICES, "--sst", sst, "--json")
    assert (code, err) == (0, "")
    alone = json.loads(out)
    assert both["scores"] == pytest.approx(alone["scores"], abs=1e-4)
    assert alone["tokens"] == both["tokens"]
    assert (alone["pruner"], alone["compression_ratio"], alone["pruning_rate"]) == ("speech-xl", 4, None)
    assert alone["tokens"]["kept"] == len(kept)
    assert alone["kept_spans"] == [[0.0, 20.0]]
    code, out, _ = run("ask", memory, "Where?", "--sst", sst, "--max-new-tokens", 3)
    assert code == 0
    assert "speech-xl 4, model auricle-mini" in out


@pytest.mark.parametrize("given", [("--pruner", "uniform", "--pruning-rate", 0.9), ("--pruner", "full"), ()])
def test_asking_prunes_and_then_summarizes(lm, sst, audio, run, given):
    """As an evaluation does that composes; without a pruner, everything is summarized."""
    code, out, err = run("ask", audio, "Where?", *CHOICES, "--summarize", 4, "--sst", sst, *given, "--json")
    assert (code, err) == (0, "")
    found = json.loads(out)
    made = Method("both", pruner=Uniform(0.9) if "uniform" in given else None, compression_ratio=4)
    sample = Sample("1", lambda: load_audio(audio), "Where?", CHOICES[1::2], 0)
    plan = Plan((made,))
    (record,) = Asking(lm, plan, summarizer.load(lm, sst))(sample, [(made, order) for order in plan.orders(sample)])
    scores = np.subtract(record.loglikelihoods, record.prior)
    assert list(found["scores"].values()) == pytest.approx(list(scores), abs=1e-4)
    assert (found["tokens"]["audio"], found["tokens"]["kept"]) == (record.audio_tokens, record.kept_tokens)
    assert (
        found["pruner"] == {"uniform": "uniform + ", "full": "full + "}.get((*given, "", "")[1], "") + "speech-xl"
    )
    assert (found["compression_ratio"], found["pruning_rate"]) == (4, 0.9 if "uniform" in given else None)
    assert min(found["seconds"]["encode"], found["seconds"]["prune"]) > 0


def test_a_rate_alone_is_of_the_default_pruner(lm, sst, audio, run):
    code, out, _ = run("ask", audio, "Where?", "--summarize", 4, "--sst", sst, "--pruning-rate", 0.5)
    assert code == 0
    assert "speechprune 0.5 + speech-xl 4, model auricle-mini" in out


def test_what_is_dropped_inside_the_llm_cannot_be_summarized(lm, sst, audio, run, monkeypatch):
    monkeypatch.setattr(AuricleMini, "encode", None)  # is said before
    code, _, err = run("ask", audio, "Where?", "--summarize", 4, "--sst", sst, "--pruner", "fastv:layer=1")
    assert (code, err.count("\n")) == (2, 1)
    assert "drops speech inside the LLM" in err
    maker = summarizer.load(lm, sst)
    with pytest.raises(OptionError, match="inside the LLM"):
        asking.summarize(maker, audio, pruner=FastV(0.5, layer=1), query=lm.query("Where?"))


def test_people_are_told_what_was_kept(lm, sst, audio, run, tmp_path):
    code, out, _ = run("summarize", audio, "-o", tmp_path / "m", "--sst", sst, "--boundaries", "dynamic")
    assert code == 0
    assert "20.0 s" in out
    assert "summarization tokens" in out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--plot", "one.png"), "cannot be drawn"),
        (("--sst", "nowhere"), "holds no Speech Summarization Tokens"),
        (("--summarize", "4"), "is a memory, of which nothing can be pruned or summarized; leave out --summarize."),
        (("--pruner", "uniform", "--pruning-rate", "0"), "leave out --pruner and --pruning-rate."),
    ],
)
def test_mistakes_are_one_sentence(lm, sst, audio, run, tmp_path, arguments, words):
    memory = tmp_path / "one.memory"
    run("summarize", audio, "-o", memory, "--sst", sst)
    code, out, err = run("ask", memory, "Where?", "--sst", sst, *arguments)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert words in err


def test_a_damaged_memory_is_one_sentence(lm, sst, audio, run, tmp_path):
    memory = tmp_path / "one.memory"
    run("summarize", audio, "-o", memory, "--sst", sst)
    memory.write_bytes(memory.read_bytes()[:-9])
    code, _, err = run("ask", memory, "Where?", "--sst", sst)
    assert (code, err.count("\n")) == (2, 1)
    assert "is no memory" in err


def test_pruning_before_summarizing(lm, sst, audio):
    maker = summarizer.load(lm, sst)
    tokens, query = encode(lm, audio).tokens, lm.query("Where?")
    pruner = Uniform(0.9)
    memory = asking.summarize(maker, audio, pruner=pruner, query=query)
    keep = pruner.keep(tokens, query, lm)
    assert len(keep) < len(tokens)
    expected = maker.summarize(tokens.select(keep))
    torch.testing.assert_close(memory.pairs.values, expected.pairs.values)
    assert memory.about.speech_tokens == len(keep)
    assert len(memory.about.recording) == 64
    with pytest.raises(OptionError, match="without the question"):
        asking.summarize(maker, audio, pruner=pruner)


def test_what_has_no_ssts_is_refused(lm, tmp_path):
    with pytest.raises(Exception, match="expected a model of transformers"):
        summarizer.load(FakeSpeechLM())
    with pytest.raises(OptionError, match="auricle train compress"):
        summarizer.load(Qwen2Audio(*tiny.tiny_qwen2_audio()))
    assert isinstance(Summarizer(lm, new_sst(lm)).summarize(encode(lm, noise(1), SAMPLE_RATE).tokens), Memory)
