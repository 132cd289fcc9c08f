"""The adapter of Music Flamingo against the model's own forward."""

import numpy as np
import pytest
import torch
from transformers.models.musicflamingo import modeling_musicflamingo

from auricle.models.music_flamingo import MusicFlamingo
from models import checks, tiny

QUESTION = "What is decided in the meeting?"


@pytest.fixture(scope="module")
def lm():
    return MusicFlamingo(*tiny.tiny_music_flamingo())


def native(lm, waveform):
    """The processor's own inputs for one user turn with a recording and a question."""
    content = [{"type": "audio", "audio": waveform}, {"type": "text", "text": QUESTION}]
    return lm.processor.apply_chat_template(
        [{"role": "user", "content": content}], tokenize=True, add_generation_prompt=True, return_dict=True
    )


@pytest.fixture(scope="module", params=[12.0, 70.0], ids=["12s", "70s"])
def recording(request, lm):
    waveform = checks.noise(request.param)
    return waveform, native(lm, waveform)


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
    assert len(tokens) == 1750
    checks.check_seventy_seconds(lm, tokens)


def test_any_tail(lm):
    checks.check_short_tails(lm)


def test_one_window_at_a_time(lm):
    checks.check_one_window_at_a_time(lm, lm.model.model.audio_tower)


def test_first_layer(lm):
    layer = lm.model.model.language_model.layers[0].self_attn
    qk = lm.first_layer_qk()
    assert torch.equal(qk.w_q, layer.q_proj.weight)
    assert torch.equal(qk.w_k, layer.k_proj.weight)
    assert (qk.heads, qk.kv_heads, qk.head_dim) == (4, 2, 8)


@pytest.mark.parametrize("number", [0, 1, 41])
def test_windows_are_turned_by_their_place_in_the_recording(lm, number):
    """Against the model's own timestamps for a recording of 42 windows, longer than its processor's 20 minutes."""
    inner, window = lm.model.model, checks.noise(30, seed=number)
    rows, placeholders = torch.full((42,), 750), torch.full((1, 42 * 750), lm.model.config.audio_token_id)
    features = native(lm, window)
    with torch.inference_mode():
        states = inner.audio_tower(
            features["input_features"], input_features_mask=features["input_features_mask"]
        ).last_hidden_state
        times = inner._build_audio_timestamps(placeholders, rows, 750)
        cos, sin = (each[number] for each in inner.pos_emb(times, seq_len=750))
        expected = inner.multi_modal_projector(modeling_musicflamingo.apply_rotary_time_emb(states, cos, sin))[0]
        found = lm._encode_at(number, window)
    assert abs(float(times[number, 0]) - 30 * number) < 1e-3
    checks.assert_close(found, expected, atol=1e-5)


def test_the_same_sound_later_is_another(lm):
    window = checks.noise(30)
    first, second = lm.encode(np.concatenate([window, window])).embeds.split(750)
    assert torch.equal(first, lm.encode(window).embeds)
    assert (first - second).abs().max() > 0.1


def test_the_speech_stands_between_its_marks(lm, recording):
    prompt = lm.prompt(lm.encode(recording[0]), lm.query(QUESTION)).keep(torch.arange(3))
    marks = torch.tensor([lm.model.config.audio_bos_token_id, lm.model.config.audio_eos_token_id])
    assert prompt.audio.tolist() == list(range(int(prompt.audio[0]), int(prompt.audio[0]) + 3))
    beside = prompt.embeds[0, [int(prompt.audio[0]) - 1, int(prompt.audio[-1]) + 1]]
    assert torch.equal(beside, lm.embed(marks))
