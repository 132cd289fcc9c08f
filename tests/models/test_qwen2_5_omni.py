"""The adapter of Qwen2.5-Omni against the thinker's own forward, and the full model's."""

import numpy as np
import pytest
import torch

from auricle.audio import SAMPLE_RATE, windows
from auricle.models.qwen2_5_omni import SYSTEM_PROMPT, Qwen25Omni
from auricle.questions import list_choices
from auricle.registry import MODELS, find
from models import checks, tiny_omni

QUESTION = "What is decided in the meeting?"


@pytest.fixture(scope="module")
def lm():
    return Qwen25Omni(tiny_omni.thinker(), tiny_omni.processor())


@pytest.fixture(scope="module")
def whole():
    return tiny_omni.full()


def conversation(processor, waveform):
    """The processor's own inputs for the authors' system prompt and one user turn."""
    turns = [
        {"role": "system", "content": [{"type": "text", "text": SYSTEM_PROMPT}]},
        {"role": "user", "content": [{"type": "audio", "audio": waveform}, {"type": "text", "text": QUESTION}]},
    ]
    options = {"tokenize": True, "return_dict": True, "return_tensors": "pt"}
    return dict(processor.apply_chat_template(turns, add_generation_prompt=True, **options))


def native(processor, waveform):
    """The processor's own inputs, with every window's features as it makes them of that window alone."""
    inputs = conversation(processor, waveform)
    alone = [conversation(processor, window) for window in windows(waveform)]
    for name in ("input_features", "feature_attention_mask"):
        inputs[name] = torch.cat([window[name] for window in alone])
    return inputs


@pytest.fixture(scope="module", params=[12.0, 70.0], ids=["12s", "70s"])
def recording(request, lm):
    waveform = checks.noise(request.param)
    return waveform, native(lm.processor, waveform)


def test_equals_native(lm, recording):
    waveform, inputs = recording
    checks.check_prompt_equals_native(lm, inputs, QUESTION, waveform)
    checks.check_places(lm, inputs, QUESTION, waveform, lm.model.config.audio_token_id)


@pytest.mark.parametrize("cap", [30, 300])
def test_a_full_window_equals_native(lm, cap):
    """Whether the processor pads it with silence, or its cap leaves no room and the last frame is mirrored."""
    same = Qwen25Omni(lm.model, tiny_omni.processor(cap))
    checks.check_prompt_equals_native(
        same, conversation(same.processor, checks.noise(30)), QUESTION, checks.noise(30)
    )


def test_prompt_is_the_processors(lm, recording):
    waveform, inputs = recording
    template = lm._template(QUESTION, QUESTION)
    speech = torch.full((len(lm.encode(waveform)),), lm.model.config.audio_token_id)
    ids = torch.cat([template.ids[: template.audio], speech, template.ids[template.audio + 1 :]])
    assert torch.equal(ids, inputs["input_ids"][0])


def test_query_with_choices(lm):
    template = lm._template(list_choices(QUESTION, ["yes", "no"]), QUESTION)
    assert lm.processor.tokenizer.decode(template.ids[template.query]) == QUESTION + "\n"  # one token is "?\n"
    assert SYSTEM_PROMPT in lm.processor.tokenizer.decode(template.ids[: template.audio])


def test_pruned_equals_hand_made(lm, recording):
    waveform, inputs = recording
    checks.check_pruned(lm, inputs, QUESTION, waveform, lm.model.config.audio_token_id)


def test_positions_are_the_models_own(lm, recording):
    """Plain counting on three axes is what the model makes of audio and text."""
    waveform, inputs = recording
    positions = lm.axes(lm._positions(lm.prompt(lm.encode(waveform), lm.query(QUESTION))))
    lengths = inputs["feature_attention_mask"].sum(-1)
    own = lm.model.model.compute_3d_position_ids(
        inputs["input_ids"], None, None, None, inputs["attention_mask"], None, False, lengths, None
    )
    assert torch.equal(positions, own)


@pytest.mark.parametrize("positions", ["renumber", "original"])
def test_positions_left_behind_by_an_image_do_not_matter(lm, positions):
    full = lm.prompt(lm.encode(checks.noise(12)), lm.query(QUESTION))
    prompt = full.keep(torch.arange(0, 300, 3), positions=positions)
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
    inputs = native(lm.processor, waveform)
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
    assert len(set(expected)) > 3


def test_loglikelihood(lm, recording):
    waveform, inputs = recording
    checks.check_loglikelihood(lm, inputs, QUESTION, waveform, ("in the old harbor", "A", "in the old harbor"))
    checks.check_layers(lm, QUESTION, waveform)


def test_loglikelihood_at_original_positions(lm):
    full = lm.prompt(lm.encode(checks.noise(12)), lm.query(QUESTION))
    pruned = full.keep(torch.arange(0, 300, 3), positions="original")
    ids = torch.tensor(lm._tokenize("in the old harbor"))
    places = torch.cat([pruned.position_ids[0], pruned.position_ids[0, -1] + 1 + torch.arange(len(ids))])
    with torch.inference_mode():
        embeds = torch.cat([pruned.embeds[0], lm.model.get_input_embeddings()(ids)])[None]
        logits = lm.model(
            inputs_embeds=embeds,
            attention_mask=torch.ones(1, len(places), dtype=torch.long),
            position_ids=places.expand(3, 1, -1),
        ).logits[0]
    expected = logits.log_softmax(-1)[-len(ids) - 1 : -1].gather(1, ids[:, None]).sum()
    checks.assert_close(lm.loglikelihood(pruned, ["in the old harbor"])[0], expected, atol=1e-3)


def test_seventy_seconds(lm):
    tokens = lm.encode(checks.noise(70))
    assert len(tokens) == 1750
    checks.check_seventy_seconds(lm, tokens)


def test_any_tail(lm):
    checks.check_short_tails(lm)


@pytest.mark.parametrize("samples", [1, 159, 160, 161, 320, 321, 799, 6400, 6401])
def test_a_tail_has_the_tokens_that_the_processor_counts(lm, samples):
    waveform = np.concatenate([checks.noise(30), checks.noise(1, seed=3)[:samples]])
    tokens = lm.encode(waveform)
    inputs = lm.processor.feature_extractor(
        waveform[480_000:], sampling_rate=SAMPLE_RATE, return_attention_mask=True, return_tensors="pt"
    )
    with torch.inference_mode():
        expected = lm.model.get_audio_features(inputs["input_features"], inputs["attention_mask"]).last_hidden_state
    assert len(expected) == lm.processor._get_num_audio_tokens(samples)
    checks.assert_close(tokens.embeds[750:], expected)
    starts = 30 + torch.arange(len(expected)) / 25
    checks.assert_close(tokens.times[750:], torch.stack([starts, starts + 0.04], dim=1))


def test_one_window_at_a_time(lm):
    frames = []
    hook = lm.model.model.audio_tower.register_forward_pre_hook(lambda _, args: frames.append(args[0].shape[1]))
    lm.encode(checks.noise(70))
    hook.remove()
    assert frames == [3000, 3000, 1000]


@pytest.mark.parametrize("cap", [10, 30, 300])
def test_the_processors_cap_cuts_nothing(lm, cap):
    capped = Qwen25Omni(lm.model, tiny_omni.processor(cap))
    native_ids = conversation(capped.processor, checks.noise(70))["input_ids"]
    assert int((native_ids == lm.model.config.audio_token_id).sum()) == min(cap, 70) * 25  # cut without a word
    assert len(capped.encode(checks.noise(70))) == 1750
    checks.assert_close(capped.encode(checks.noise(12)).embeds, lm.encode(checks.noise(12)).embeds)


def test_beyond_the_published_cap(lm):
    assert len(lm.encode(np.zeros(310 * SAMPLE_RATE, dtype=np.float32))) == 310 * 25


@pytest.mark.parametrize("order", [1, -1], ids=["rising", "falling"])
def test_how_the_processor_differs_over_30_s(lm, order):
    """As documented: 3 frames at a cut, and the floor, which follows the whole recording's loudest frame."""
    waveform = checks.noise(70)[::order].copy()
    together = conversation(lm.processor, waveform)["input_features"][0, :, :7000]
    inputs = native(lm.processor, waveform)
    kept = inputs["feature_attention_mask"].bool()
    alone = inputs["input_features"].permute(0, 2, 1)[kept].T
    floored = torch.maximum(alone, alone.amax() - 2)
    differ = ((together - floored).abs() > 1e-4).any(dim=0).nonzero()[:, 0].tolist()
    assert differ
    assert set(differ) <= {cut + offset for cut in (3000, 6000) for offset in (-1, 0, 1)}


def test_first_layer(lm):
    layer = lm.model.model.language_model.layers[0].self_attn
    qk = lm.first_layer_qk()
    assert torch.equal(qk.w_q, layer.q_proj.weight)
    assert torch.equal(qk.w_k, layer.k_proj.weight)
    assert (qk.heads, qk.kv_heads, qk.head_dim) == (4, 2, 8)


def test_half_precision():
    lm = Qwen25Omni(tiny_omni.thinker().to(torch.bfloat16), tiny_omni.processor())
    prompt = lm.prompt(lm.encode(checks.noise(1)), lm.query(QUESTION))
    assert prompt.embeds.dtype == torch.bfloat16
    assert torch.isfinite(lm.logits(prompt)).all()


def test_the_full_model_is_its_thinker(lm, whole, recording):
    waveform, inputs = recording
    same = Qwen25Omni(whole, lm.processor)
    assert same.model is whole.thinker
    assert same.name == "Qwen2_5OmniForConditionalGeneration"
    tokens, expected = same.encode(waveform), lm.encode(waveform)
    assert torch.equal(tokens.embeds, expected.embeds)
    assert torch.equal(tokens.times, expected.times)
    prompt = same.prompt(tokens, same.query(QUESTION))
    assert torch.equal(same.logits(prompt), lm.logits(lm.prompt(expected, lm.query(QUESTION))))
    ids = whole.generate(**inputs, generation_mode="text", thinker_max_new_tokens=8, thinker_do_sample=False)
    text = same.processor.tokenizer.decode(ids[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True)
    assert same.generate(prompt, max_new_tokens=8) == text.strip()


def test_the_talker_is_left_alone(whole):
    whole.talker.train()
    Qwen25Omni(whole, tiny_omni.processor())
    assert whole.talker.training
    assert all(parameter.requires_grad for parameter in whole.talker.parameters())
    assert not any(parameter.requires_grad for parameter in whole.thinker.parameters())


def test_the_name_is_where_the_full_model_came_from(whole, monkeypatch):
    monkeypatch.setattr(whole.config, "name_or_path", "some/omni")
    assert Qwen25Omni(whole, tiny_omni.processor()).name == "some/omni"
    assert Qwen25Omni(whole, tiny_omni.processor(), name="mine").name == "mine"


def test_registered():
    for name in ("OmniThinkerForConditionalGeneration", "OmniForConditionalGeneration", "OmniModel"):
        assert find("Qwen2_5" + name, MODELS, "model", "auricle.models") is Qwen25Omni
