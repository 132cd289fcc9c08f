"""The adapter of GLM-ASR against the model's own forward."""

import numpy as np
import pytest
import torch

from auricle.models.glm_asr import GlmAsr
from models import checks, tiny_glm

QUESTION = "What is decided in the meeting?"


@pytest.fixture(scope="module")
def lm():
    return GlmAsr(*tiny_glm.tiny_glm_asr())


@pytest.fixture(scope="module", params=[12.0, 70.0], ids=["12s", "70s"])
def recording(request, lm):
    """A recording, and the processor's own inputs for one question, as it makes them for transcripts."""
    waveform = checks.noise(request.param)
    return waveform, lm.processor.apply_transcription_request(waveform, QUESTION)


def test_equals_native(lm, recording):
    waveform, inputs = recording
    checks.check_prompt_equals_native(lm, inputs, QUESTION, waveform)
    checks.check_places(lm, inputs, QUESTION, waveform, lm.model.config.audio_token_id)


def test_pruned_equals_hand_made(lm, recording):
    waveform, inputs = recording
    checks.check_pruned(lm, inputs, QUESTION, waveform, lm.model.config.audio_token_id)


def test_generate(lm, recording):
    waveform, inputs = recording
    checks.check_generates_natively(lm, inputs, QUESTION, waveform)


def test_loglikelihood(lm, recording):
    waveform, inputs = recording
    checks.check_loglikelihood(lm, inputs, QUESTION, waveform)
    checks.check_layers(lm, QUESTION, waveform)


def test_seventy_seconds(lm):
    tokens = lm.encode(checks.noise(70))
    assert len(tokens) == 875
    checks.check_seventy_seconds(lm, tokens)


def test_any_tail(lm):
    checks.check_short_tails(lm)


@pytest.mark.parametrize("seconds", [30.07, 30.0801, 31.31])
def test_as_many_tokens_as_natively(lm, seconds):
    waveform = checks.noise(seconds)
    ids = lm.processor.apply_transcription_request(waveform, QUESTION)["input_ids"]
    assert len(lm.encode(waveform)) == int((ids == lm.model.config.audio_token_id).sum())


def test_one_window_at_a_time(lm):
    checks.check_one_window_at_a_time(lm, lm.model.model.audio_tower)


def test_first_layer(lm):
    layer = lm.model.model.language_model.layers[0].self_attn
    qk = lm.first_layer_qk()
    assert torch.equal(qk.w_q, layer.q_proj.weight)
    assert torch.equal(qk.w_k, layer.k_proj.weight)
    assert (qk.heads, qk.kv_heads, qk.head_dim) == (4, 2, 8)


def test_nothing_is_dropped_beyond_eleven_minutes(lm):
    assert len(lm.encode(np.zeros(690 * 16_000, dtype=np.float32))) == 690 * 12.5
