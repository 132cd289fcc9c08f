"""The adapter of Qwen3-Omni against the thinker's own forward, and the full model's."""

import numpy as np
import pytest
import torch

from auricle.audio import SAMPLE_RATE
from auricle.errors import ModelError
from auricle.models.qwen3_omni_moe import Qwen3OmniMoe
from auricle.registry import MODELS, find
from auricle.summarization import summarizer
from models import checks, encoder_windows, tiny_qwen3_omni

QUESTION = "What is decided in the meeting?"
NAMES = ("input_features", "feature_attention_mask")


@pytest.fixture(scope="module")
def lm():
    return Qwen3OmniMoe(tiny_qwen3_omni.thinker(), tiny_qwen3_omni.processor())


@pytest.fixture(scope="module")
def whole():
    return tiny_qwen3_omni.full()


def conversation(processor, waveform, question=QUESTION):
    """The processor's own inputs for one user turn."""
    content = [{"type": "audio", "audio": waveform}, {"type": "text", "text": question}]
    options = {"tokenize": True, "return_dict": True, "return_tensors": "pt"}
    turns = [{"role": "user", "content": content}]
    return dict(processor.apply_chat_template(turns, add_generation_prompt=True, **options))


def native(lm, waveform):
    """The processor's own inputs, as one recording, with every window's frames as it makes them of that window."""
    return encoder_windows.joined(lm, waveform, lambda samples: conversation(lm.processor, samples), *NAMES)


@pytest.fixture(scope="module", params=[12.0, 30.0, 70.0], ids=["12s", "30s", "70s"])
def recording(request, lm):
    waveform = checks.noise(request.param)
    return waveform, native(lm, waveform)


def test_equals_native(lm, recording):
    waveform, inputs = recording
    checks.check_prompt_equals_native(lm, inputs, QUESTION, waveform)
    checks.check_places(lm, inputs, QUESTION, waveform, lm.model.config.audio_token_id)


def test_prompt_is_the_processors(lm, recording):
    waveform, inputs = recording
    template = lm._template(QUESTION, QUESTION)
    speech = torch.full((len(lm.encode(waveform)),), lm.model.config.audio_token_id)
    ids = torch.cat([template.ids[: template.audio], speech, template.ids[template.audio + 1 :]])
    assert torch.equal(ids, inputs["input_ids"][0])


def test_pruned_equals_hand_made(lm, recording):
    waveform, inputs = recording
    checks.check_pruned(lm, inputs, QUESTION, waveform, lm.model.config.audio_token_id)


def test_positions_are_the_models_own(lm, recording):
    """Plain counting on three axes is what the model makes of audio and text."""
    waveform, inputs = recording
    positions = lm.axes(lm._positions(lm.prompt(lm.encode(waveform), lm.query(QUESTION))))
    seen = []

    def record(_module, _args, kwargs):
        seen.append(kwargs["position_ids"])

    hook = lm.model.get_decoder().register_forward_pre_hook(record, with_kwargs=True)
    try:
        checks.native_logits(lm.model, inputs)
    finally:
        hook.remove()
    own, _ = lm.model.get_rope_index(inputs["input_ids"], None, None, inputs["attention_mask"])
    assert torch.equal(positions, own.expand_as(positions).long())
    assert torch.equal(positions, seen[0][-3:].long())


@pytest.mark.parametrize("positions", ["renumber", "original"])
def test_positions_left_behind_by_an_image_do_not_matter(lm, positions):
    full = lm.prompt(lm.encode(checks.noise(12)), lm.query(QUESTION))
    prompt = full.keep(torch.arange(0, 150, 3), positions=positions)
    results = []
    for left_behind in (None, torch.tensor([[-40]])):
        lm.model.model.rope_deltas = left_behind
        logits, logs = lm.logits(prompt), lm.loglikelihood(prompt, ["a harbor", "the"])
        lm.model.model.rope_deltas = left_behind
        results.append((logits.tolist(), logs.tolist(), lm.generate(prompt, max_new_tokens=8)))
    assert results[0] == results[1]


def test_generate(lm, recording):
    waveform, inputs = recording
    checks.check_generates_natively(lm, inputs, QUESTION, waveform, tokens=12)


def test_generates_on_at_original_positions(lm):
    """As greedy decoding by the model's own forward, where positions go on behind the prompt's last."""
    waveform = checks.noise(12)
    inputs = native(lm, waveform)
    embeds = checks.native_embeds(lm.model, inputs)
    audio = (inputs["input_ids"][0] == lm.model.config.audio_token_id).nonzero()[:, 0]
    gone = set(audio[::2].tolist())
    rows = torch.tensor([row for row in range(len(embeds)) if row not in gone])
    row, places, expected = embeds[rows], rows, []
    with torch.inference_mode():
        for _ in range(8):
            logits = lm.model(inputs_embeds=row[None], position_ids=places.expand(3, 1, -1)).logits
            expected.append(int(logits[0, -1].argmax()))
            row = torch.cat([row, lm.model.get_input_embeddings()(torch.tensor(expected[-1:]))])
            places = torch.cat([places, places[-1:] + 1])
    full, streamed = lm.prompt(lm.encode(waveform), lm.query(QUESTION)), checks.Ids()
    pruned = full.keep(torch.arange(1, len(full.audio), 2), positions="original")
    lm.generate(pruned, max_new_tokens=8, streamer=streamed)
    assert streamed.ids == expected
    assert len(set(expected)) > 2


def test_loglikelihood(lm, recording):
    waveform, inputs = recording
    checks.check_loglikelihood(lm, inputs, QUESTION, waveform, ("in the old harbor", "A", "in the old harbor"))
    checks.check_layers(lm, QUESTION, waveform)


def test_seventy_seconds(lm):
    tokens = lm.encode(checks.noise(70))
    assert len(tokens) == 910
    checks.check_seventy_seconds(lm, tokens)


@pytest.mark.parametrize("samples", [1600, 1759, 1760, 2880, 16_000, 16_160, 200_000, 384_001, 400_159, 480_000])
def test_any_length_up_to_30_s_equals_native(lm, samples):
    waveform = checks.noise(30)[:samples]
    inputs = conversation(lm.processor, waveform)
    tokens = lm.encode(waveform)
    placeholders = int((inputs["input_ids"] == lm.model.config.audio_token_id).sum())
    with torch.inference_mode():
        expected = lm.model.get_audio_features(*(inputs[name] for name in NAMES)).last_hidden_state
    assert len(tokens) == placeholders == encoder_windows.tokens_of(samples // 160)
    checks.assert_close(tokens.embeds, expected)
    checks.assert_close(tokens.times[:, 0], torch.arange(placeholders) / 13)


@pytest.mark.parametrize("samples", [1, 159, 160, 6401, 96_000, 96_001])
def test_any_length_over_30_s_equals_native(lm, samples):
    waveform = np.concatenate([checks.noise(48), checks.noise(7, seed=3)[:samples]])
    checks.check_prompt_equals_native(lm, native(lm, waveform), QUESTION, waveform)


def test_one_window_at_a_time(lm):
    frames = []
    hook = lm.model.model.audio_tower.register_forward_pre_hook(lambda _, args: frames.append(args[0].shape[1]))
    lm.encode(checks.noise(70))
    hook.remove()
    assert frames == [2400, 2400, 2200]


@pytest.mark.parametrize("order", [1, -1], ids=["rising", "falling"])
def test_how_the_processor_differs_over_30_s(lm, order):
    """As documented: up to 3 frames at a cut, and the floor, which follows the whole recording's loudest frame."""
    waveform = checks.noise(70)[::order].copy()
    together = conversation(lm.processor, waveform)["input_features"][0]
    encoder_windows.check_frames(together, native(lm, waveform)["input_features"][0])


def test_first_layer(lm):
    checks.check_first_layer(lm, lm.encode(checks.noise(12)).embeds)
    qk = lm.first_layer_qk()
    assert (qk.heads, qk.kv_heads, qk.head_dim) == (4, 2, 16)


@pytest.mark.parametrize("name", encoder_windows.PRUNERS)
def test_pruners(lm, name):
    encoder_windows.check_pruner(lm, name, QUESTION)


def test_half_precision():
    lm = Qwen3OmniMoe(tiny_qwen3_omni.thinker().to(torch.bfloat16), tiny_qwen3_omni.processor())
    prompt = lm.prompt(lm.encode(checks.noise(1)), lm.query(QUESTION))
    assert prompt.embeds.dtype == torch.bfloat16
    assert torch.isfinite(lm.logits(prompt)).all()


def test_the_full_model_is_its_thinker(lm, whole, recording):
    waveform, inputs = recording
    same = Qwen3OmniMoe(whole, lm.processor)
    assert same.model is whole.thinker
    assert same.name == "Qwen3OmniMoeForConditionalGeneration"
    tokens, expected = same.encode(waveform), lm.encode(waveform)
    assert torch.equal(tokens.embeds, expected.embeds)
    prompt = same.prompt(tokens, same.query(QUESTION))
    assert torch.equal(same.logits(prompt), lm.logits(lm.prompt(expected, lm.query(QUESTION))))
    options = {"thinker_max_new_tokens": 8, "thinker_do_sample": False, "thinker_eos_token_id": None}
    result = whole.generate(**inputs, generation_mode="text", **options)
    ids = (result[0] if isinstance(result, tuple) else result)[0, inputs["input_ids"].shape[1] :]
    assert same.generate(prompt, max_new_tokens=8) == lm.decode(ids)


def test_the_talker_is_left_alone(whole):
    whole.talker.train()
    Qwen3OmniMoe(whole, tiny_qwen3_omni.processor())
    assert whole.talker.training
    assert all(parameter.requires_grad for parameter in whole.talker.parameters())
    assert not any(parameter.requires_grad for parameter in whole.thinker.parameters())


def test_it_has_no_memory(lm):
    with pytest.raises(ModelError, match=r"cannot summarize; .* no norms of queries and keys"):
        summarizer.load(lm, summarizer.UNTRAINED)


def test_a_recording_of_minutes(lm):
    assert len(lm.encode(np.zeros(310 * SAMPLE_RATE, dtype=np.float32))) == 310 * 13


def test_registered():
    for name in ("ThinkerForConditionalGeneration", "ForConditionalGeneration"):
        assert find("Qwen3OmniMoe" + name, MODELS, "model", "auricle.models") is Qwen3OmniMoe
