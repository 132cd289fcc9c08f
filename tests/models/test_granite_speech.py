"""The adapter of Granite Speech against the model's own forward and generate."""

import numpy as np
import pytest
import torch

from auricle.models.granite_speech import _SYSTEM, GraniteSpeech
from models import checks, tiny_granite, windowed

pytest.importorskip("torchaudio", reason="Granite's feature extractor needs torchaudio", exc_type=ImportError)

QUESTION = "What is decided in the meeting?"


@pytest.fixture(scope="module", params=[False, True], ids=["speech", "plus"])
def lm(request):
    return GraniteSpeech(*tiny_granite.tiny_granite(plus=request.param))


@pytest.fixture(params=[False, True], ids=["speech", "plus"])
def lora(request):
    """With a LoRA adapter on the LLM and the projector, on as after loading; a new one for every test."""
    model, processor = tiny_granite.tiny_granite(plus=request.param)
    tiny_granite.add_lora(model, "q_proj", "v_proj", "linear")
    return GraniteSpeech(model, processor)


def native(lm, waveform, question=QUESTION):
    """The processor's own inputs for the model card's conversation."""
    conversation = [
        {"role": "system", "content": _SYSTEM},
        {"role": "user", "content": f"<|audio|>{question}"},
    ]
    text = lm.processor.tokenizer.apply_chat_template(conversation, tokenize=False, add_generation_prompt=True)
    return lm.processor(text, torch.from_numpy(waveform), return_tensors="pt")


def audio_id(lm):
    return lm.model.config.audio_token_id


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
    ids = inputs["input_ids"][0]
    text = ids[ids != audio_id(lm)]
    assert torch.equal(torch.cat([template.ids[: template.audio], template.ids[template.audio + 1 :]]), text)
    assert template.audio == int((ids == audio_id(lm)).nonzero()[0])
    assert audio_id(lm) == lm.model.get_input_embeddings().num_embeddings  # beyond the table, and never looked up


def test_system_prompt_only_against_the_date(lm):
    template = tiny_granite.TEMPLATE.partition("{%- endif -%}")[2]
    undated = GraniteSpeech(lm.model, tiny_granite.granite_processor(template))
    ids = undated._template("Who?", "Who?").ids
    assert "April 9, 2025" in lm.processor.decode(lm._template("Who?", "Who?").ids)
    assert undated.processor.decode(ids).startswith("<|start_of_role|>user<|end_of_role|>")


def test_pruned_equals_hand_made(lm, recording):
    waveform, inputs = recording
    checks.check_pruned(lm, inputs, QUESTION, waveform, audio_id(lm))


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
        waveform, lambda window: native(lm, window), lambda i: checks.native_embeds(lm.model, i), audio_id(lm)
    )
    windowed.check_windowed(lm, waveform, QUESTION, whole, audio)


def test_seventy_seconds(lm):
    tokens = lm.encode(checks.noise(70))
    # 10 s are 500 encoder frames, which fill 34 blocks of 15 frames and 3 tokens; the last is mostly padding.
    assert len(tokens) == 300 + 300 + 102
    starts, ends = tokens.times.T
    torch.testing.assert_close(starts, torch.arange(702) / 10, atol=1e-5, rtol=0)
    torch.testing.assert_close(ends - starts, torch.full((702,), 0.1), atol=1e-4, rtol=0)


@pytest.mark.parametrize("samples", [1, 40, 159, 160, 256, 257, 4959, 4960])
def test_any_tail(lm, samples):
    tail = checks.noise(1)[:samples]
    tokens = lm.encode(np.concatenate([np.zeros(480_000, dtype=np.float32), tail]))
    blocks = 1 if samples < 4960 else 2  # of 15 encoder frames, of which a new one begins every 20 ms
    assert len(tokens) == 300 + 3 * blocks
    torch.testing.assert_close(tokens.times[300:, 0], 30 + torch.arange(3 * blocks) / 10, atol=1e-5, rtol=0)
    assert torch.isfinite(tokens.embeds).all()
    if samples >= 257:  # below, the model's own processor fails
        inputs = native(lm, tail)
        rows = checks.native_embeds(lm.model, inputs)[inputs["input_ids"][0] == audio_id(lm)]
        checks.assert_close(tokens.embeds[300:], rows, atol=1e-5)


def test_one_window_at_a_time(lm):
    checks.check_one_window_at_a_time(lm, lm.model.model.encoder)


def test_first_layer(lm):
    layer = lm.model.model.language_model.layers[0].self_attn
    qk = lm.first_layer_qk()
    assert torch.equal(qk.w_q, layer.q_proj.weight)
    assert torch.equal(qk.w_k, layer.k_proj.weight)
    assert (qk.heads, qk.kv_heads, qk.head_dim) == (4, 2, 8)


def lora_state(model):
    layers = [m.disable_adapters for m in model.modules() if hasattr(m, "lora_A")]
    return layers, [p.requires_grad for p in model.parameters()], model._hf_peft_config_loaded


@pytest.mark.parametrize("before", ["enable_adapters", "disable_adapters"])
def test_lora_is_on_with_speech(lora, recording, before):
    waveform, _ = recording
    inputs = native(lora, waveform)
    lora.model.enable_adapters()
    lora.model.requires_grad_(False)
    speaking = checks.native_logits(lora.model, inputs)
    text = lora.processor.decode(
        lora.model.generate(**inputs, do_sample=False, max_new_tokens=8)[0, inputs["input_ids"].shape[1] :],
        skip_special_tokens=True,
    )
    query = lora.processor.tokenizer("a harbor", return_tensors="pt")["input_ids"]
    longer = inputs | {
        "input_ids": torch.cat([inputs["input_ids"], query], 1),
        "attention_mask": torch.ones(1, inputs["input_ids"].shape[1] + query.shape[1]),
    }
    logs = checks.native_logits(lora.model, longer).log_softmax(-1)[-query.shape[1] - 1 : -1]
    qk = lora.model.get_decoder().layers[0].self_attn
    states = torch.randn(5, 32, generator=torch.Generator().manual_seed(0))
    projected = qk.q_proj(states)
    lora.model.disable_adapters()
    silent = checks.native_logits(lora.model, inputs)
    assert not torch.allclose(speaking, silent, atol=0.1)

    getattr(lora.model, before)()
    state = lora_state(lora.model)
    prompt = lora.prompt(lora.encode(waveform), lora.query(QUESTION))
    checks.assert_close(lora.logits(prompt), speaking)
    assert lora.generate(prompt, max_new_tokens=8) == text.strip()
    checks.assert_close(lora.loglikelihood(prompt, ["a harbor"])[0], logs.gather(1, query.T).sum(), atol=1e-3)
    checks.assert_close(states @ lora.first_layer_qk().w_q.T, projected, atol=1e-5)
    assert lora_state(lora.model) == state


@pytest.mark.parametrize("before", ["enable_adapters", "disable_adapters"])
def test_lora_is_off_without_speech(lora, before):
    prompt = lora.prompt(None, lora.query(QUESTION))
    template = lora._template(QUESTION, QUESTION)
    ids = torch.cat([template.ids[: template.audio], template.ids[template.audio + 1 :]])[None]
    lora.model.enable_adapters()
    assert not torch.allclose(lora.logits(prompt), lora.model(ids).logits[0], atol=0.1)
    text = lora.processor.decode(lora.model.generate(ids, do_sample=False, max_new_tokens=8)[0, ids.shape[1] :])
    assert lora.model.get_decoder().layers[0].self_attn.q_proj.disable_adapters  # by the model's own generate
    expected = lora.model(ids).logits[0]
    getattr(lora.model, before)()
    state = lora_state(lora.model)
    checks.assert_close(lora.logits(prompt), expected)
    assert lora.generate(prompt, max_new_tokens=8) == text.strip()
    assert lora_state(lora.model) == state


def test_lora_is_as_it_was_after_an_error(lora, recording):
    waveform, _ = recording
    prompt = lora.prompt(lora.encode(waveform), lora.query(QUESTION))
    lora.model.disable_adapters()
    state = lora_state(lora.model)

    def fail():
        raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        lora.generate(prompt, on_prefill=fail)
    assert lora_state(lora.model) == state


def test_bfloat16():
    model, processor = tiny_granite.tiny_granite()
    lm = GraniteSpeech(model.bfloat16(), processor)
    tokens = lm.encode(checks.noise(2))
    assert tokens.embeds.dtype == torch.bfloat16
    assert lm.logits(lm.prompt(tokens, lm.query(QUESTION))).isfinite().all()
