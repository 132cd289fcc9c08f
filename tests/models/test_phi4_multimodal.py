"""The adapter of Phi-4-multimodal against the model's own forward and generate."""

import numpy as np
import pytest
import torch

from auricle.models.phi4_multimodal import Phi4Multimodal
from models import checks, tiny_granite, tiny_phi4, windowed

QUESTION = "What is decided in the meeting?"


@pytest.fixture(scope="module")
def lm():
    return Phi4Multimodal(*tiny_phi4.tiny_phi4())


def native(lm, waveform):
    """The processor's own inputs for one user turn with a recording and a question."""
    content = [{"type": "audio", "audio": waveform}, {"type": "text", "text": QUESTION}]
    return lm.processor.apply_chat_template(
        [{"role": "user", "content": content}],
        tokenize=True,
        add_generation_prompt=True,
        return_dict=True,
        return_tensors="pt",
    )


@torch.inference_mode()
def merged(lm, inputs):
    """What the model's own forward hands to its first layer: it has no decoder of its own that takes embeddings."""
    seen = []
    hook = lm.model.model.layers[0].register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    try:
        lm.model(**inputs)
    finally:
        hook.remove()
    return seen[0][0]


def audio_id(lm):
    return lm.model.config.audio_config.audio_token_id


@pytest.fixture(scope="module")
def recording(lm):
    waveform = checks.noise(12)
    return waveform, native(lm, waveform)


def test_equals_native(lm, recording):
    waveform, inputs = recording
    checks.check_prompt_equals_native(lm, inputs, QUESTION, waveform)
    checks.check_places(lm, inputs, QUESTION, waveform, audio_id(lm))


def test_prompt_is_the_native_one(lm, recording):
    _, inputs = recording
    template = lm._template(QUESTION, QUESTION)
    run = [audio_id(lm)] * 150
    ids = [*template.ids[: template.audio].tolist(), *run, *template.ids[template.audio + 1 :].tolist()]
    assert ids == inputs["input_ids"][0].tolist()


def test_pruned_equals_hand_made(lm, recording):
    waveform, inputs = recording
    checks.check_pruned(lm, inputs, QUESTION, waveform, audio_id(lm), embeds=merged(lm, inputs))


def test_generate(lm, recording):
    waveform, inputs = recording
    checks.check_generates_natively(lm, inputs, QUESTION, waveform)


def test_loglikelihood(lm, recording):
    waveform, inputs = recording
    checks.check_loglikelihood(lm, inputs, QUESTION, waveform)
    checks.check_layers(lm, QUESTION, waveform)


def test_windows_equal_native(lm):
    waveform = checks.noise(70)
    whole, audio = windowed.windowed_embeds(
        waveform, lambda window: native(lm, window), lambda inputs: merged(lm, inputs), audio_id(lm)
    )
    assert len(whole) > tiny_phi4.SHORT_CONTEXT  # so that RoPE's long factors are seen as well
    windowed.check_windowed(lm, waveform, QUESTION, whole, audio)


def test_seventy_seconds(lm):
    tokens = lm.encode(checks.noise(70))
    assert len(tokens) == 875
    checks.check_seventy_seconds(lm, tokens)


def test_any_tail(lm):
    checks.check_short_tails(lm)


@pytest.mark.parametrize("samples", [400, 1520, 1680, 1681, 16_000])
def test_tail_equals_native(lm, samples):
    tail = checks.noise(1, seed=2)[:samples]
    tokens = lm.encode(np.concatenate([checks.noise(30), tail]))
    inputs = native(lm, tail)
    rows = merged(lm, inputs)[inputs["input_ids"][0] == audio_id(lm)]
    assert len(rows) == len(tokens) - 375
    checks.assert_close(tokens.embeds[375:], rows, atol=1e-5)


def test_one_window_at_a_time(lm):
    checks.check_one_window_at_a_time(lm, lm.model.model.embed_tokens_extend.audio_embed.encoder)


@pytest.mark.parametrize("adapter", [False, True], ids=["plain", "lora"])
def test_first_layer(adapter):
    lm = Phi4Multimodal(*tiny_phi4.tiny_phi4(attn_implementation="eager"))
    plain = lm.first_layer_qk()
    if adapter:
        tiny_granite.add_lora(lm.model, "qkv_proj")
    qk = lm.first_layer_qk()
    assert torch.equal(qk.w_q, plain.w_q) is not adapter
    assert (qk.heads, qk.kv_heads, qk.head_dim) == (4, 2, 8)

    states = torch.randn(1, 6, 32, generator=torch.Generator().manual_seed(0))
    unturned = torch.ones(1, 6, 6), torch.zeros(1, 6, 6)  # cosine and sine of a RoPE that does nothing
    _, expected = lm.model.model.layers[0].self_attn(states, position_embeddings=unturned, attention_mask=None)
    q = (states[0] @ qk.w_q.T).view(6, 4, 8).transpose(0, 1)
    k = (states[0] @ qk.w_k.T).view(6, 2, 8).transpose(0, 1).repeat_interleave(2, dim=0)
    checks.assert_close((q @ k.mT / 8**0.5).softmax(-1), expected[0], atol=1e-5)


def test_bfloat16():
    model, processor = tiny_phi4.tiny_phi4()
    lm = Phi4Multimodal(model.bfloat16(), processor)
    tokens = lm.encode(checks.noise(2))
    assert tokens.embeds.dtype == torch.bfloat16
    assert lm.logits(lm.prompt(tokens, lm.query(QUESTION))).isfinite().all()
