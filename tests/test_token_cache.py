"""The token cache gives what encoding gives, and only for the same samples and the same encoder."""

import pytest
import torch

from auricle import asking
from auricle.audio import SAMPLE_RATE
from auricle.models.mini.adapter import AuricleMini
from auricle.models.qwen2_audio import Qwen2Audio
from auricle.token_cache import VARIABLE, encode
from fakes import FakeSpeechLM, noise
from models import tiny, tiny_mini


def mini():
    return AuricleMini(tiny_mini.model(), tiny_mini.processor(), "auricle-mini")


def qwen():
    return Qwen2Audio(*tiny.tiny_qwen2_audio())


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv(VARIABLE, str(tmp_path / "tokens"))
    return tmp_path / "tokens"


def counted(lm, monkeypatch):
    """How often the encoder has run."""
    runs, name = [], "_encode_windows"
    real = getattr(lm, name)
    monkeypatch.setattr(lm, name, lambda cut: runs.append(len(cut)) or real(cut))
    return runs


@pytest.mark.parametrize("make", [mini, qwen])
def test_a_recording_is_encoded_once(make, folder, monkeypatch):
    lm, told = make(), []
    runs = counted(lm, monkeypatch)
    first = encode(lm, noise(2), SAMPLE_RATE)
    second = asking.encode(lm, noise(2), SAMPLE_RATE, lambda done, total: told.append((done, total))).tokens
    assert runs == [1]
    assert told == [(1, 1)]
    assert torch.equal(first.embeds, second.embeds)
    assert first.embeds.dtype == second.embeds.dtype
    assert torch.equal(first.times, second.times)
    assert first.aligned == second.aligned
    assert torch.equal(first.embeds, lm.encode(noise(2), SAMPLE_RATE).embeds)
    assert len(list(folder.iterdir())) == 1


def test_other_samples_are_encoded(folder, monkeypatch):
    lm = mini()
    runs = counted(lm, monkeypatch)
    for samples, rate in ((noise(2), SAMPLE_RATE), (noise(2, seed=1), SAMPLE_RATE), (noise(2), SAMPLE_RATE // 2)):
        encode(lm, samples, rate)
    assert len(runs) == 3


def test_the_encoder_counts_and_the_llms_layers_do_not(folder, monkeypatch):
    """So that tokens are kept while the LLM is trained, and encoded again for another encoder, or another dtype."""
    lm = mini()
    encode(lm, noise(2), SAMPLE_RATE)
    same, other, low = mini(), mini(), mini()
    same.model.config.name_or_path = "elsewhere"
    same.model.get_decoder().layers[0].self_attn.q_proj.weight.data += 1
    other.model.connector.state_dict()[next(iter(other.model.connector.state_dict()))].add_(0.25)
    low.model.bfloat16()
    runs = [counted(each, monkeypatch) for each in (same, other, low)]
    for each in (same, other, low, qwen()):
        encode(each, noise(2), SAMPLE_RATE)
    assert [len(each) for each in runs] == [0, 1, 1]
    assert len(list(folder.iterdir())) == 4


def test_a_damaged_file_is_made_anew(folder, monkeypatch):
    lm = mini()
    tokens = encode(lm, noise(2), SAMPLE_RATE)
    (file,) = folder.iterdir()
    file.write_bytes(file.read_bytes()[:-5])
    runs = counted(lm, monkeypatch)
    for _ in range(2):
        assert torch.equal(encode(lm, noise(2), SAMPLE_RATE).embeds, tokens.embeds)
    assert len(runs) == 1


def test_nothing_is_kept_without_a_folder_or_of_other_models(folder, monkeypatch):
    encode(FakeSpeechLM(), noise(2), SAMPLE_RATE)
    monkeypatch.delenv(VARIABLE)
    encode(mini(), noise(2), SAMPLE_RATE)
    assert not folder.exists()
