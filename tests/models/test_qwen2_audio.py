"""The adapter of Qwen2-Audio against the model's own forward."""

import pytest
import torch

from auricle.audio import SAMPLE_RATE, WINDOW_SAMPLES
from auricle.models.qwen2_audio import Qwen2Audio
from models import checks, tiny

QUESTION = "What is decided in the meeting?"


@pytest.fixture(scope="module")
def lm():
    return Qwen2Audio(*tiny.tiny_qwen2_audio())


def native(lm, waveform):
    """One user turn as the processor writes it; beyond 30 s, where it cuts, windows for one run of placeholders."""
    processor = lm.processor
    content = [{"type": "audio", "audio": waveform}, {"type": "text", "text": QUESTION}]
    conversation = [{"role": "user", "content": content}]
    if len(waveform) <= WINDOW_SAMPLES:
        return processor.apply_chat_template(
            conversation, tokenize=True, add_generation_prompt=True, return_dict=True, return_tensors="pt"
        )
    text = processor.apply_chat_template(conversation, tokenize=False, add_generation_prompt=True)
    features = processor.feature_extractor(
        [waveform[start : start + WINDOW_SAMPLES] for start in range(0, len(waveform), WINDOW_SAMPLES)],
        sampling_rate=SAMPLE_RATE,
        return_attention_mask=True,
        return_tensors="pt",
    )
    run = processor.audio_token * (len(waveform) // 640)
    encoded = processor.tokenizer(text.replace(processor.audio_token, run), return_tensors="pt")
    return dict(encoded) | {
        "input_features": features["input_features"],
        "feature_attention_mask": features["attention_mask"],
    }


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


def test_processor_cuts_what_the_adapter_reads(lm):
    """The trap this adapter exists for: the model's own processor drops all but the first 30 s, without a word."""
    waveform = checks.noise(40)
    text = lm.processor.audio_token
    cut = lm.processor(text=text, audio=waveform, sampling_rate=SAMPLE_RATE, return_tensors="pt")
    assert cut["input_ids"].shape[1] == 750
    assert len(lm.encode(waveform)) == 1000
