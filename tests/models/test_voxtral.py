"""The adapter of Voxtral against the model's own forward; the tokenizer is a real Tekken made in `tiny_voxtral`."""

import base64
import io
import sys

import numpy as np
import pytest
import soundfile
import torch

from auricle.audio import SAMPLE_RATE, windows
from auricle.errors import MissingDependencyError
from auricle.models.voxtral import Voxtral
from auricle.questions import list_choices
from auricle.registry import MODELS, find
from models import checks, tiny_voxtral

QUESTION = "What is decided in the meeting?"


@pytest.fixture(scope="module")
def lm(tmp_path_factory):
    return Voxtral(tiny_voxtral.model(), tiny_voxtral.processor(tmp_path_factory.mktemp("tekken")))


def conversation(lm, waveform, text=QUESTION):
    """The processor's own inputs for one user turn with a recording and a question."""
    file = io.BytesIO()
    soundfile.write(file, waveform, SAMPLE_RATE, format="WAV", subtype="FLOAT")
    audio = {"type": "audio", "base64": base64.b64encode(file.getvalue()).decode()}
    content = [audio, {"type": "text", "text": text}]
    return dict(lm.processor.apply_chat_template([{"role": "user", "content": content}]))


def native(lm, waveform):
    """The processor's own inputs, with every window's features as it makes them of that window alone."""
    inputs = conversation(lm, waveform)
    inputs["input_features"] = torch.cat([conversation(lm, w)["input_features"] for w in windows(waveform)])
    return inputs


@pytest.fixture(scope="module", params=[12.0, 70.0], ids=["12s", "70s"])
def recording(request, lm):
    waveform = checks.noise(request.param)
    return waveform, native(lm, waveform)


def test_up_to_30_s_the_inputs_are_the_processors_own(lm):
    for seconds in (12, 30):
        whole = conversation(lm, checks.noise(seconds))
        assert torch.equal(native(lm, checks.noise(seconds))["input_features"], whole["input_features"])


def test_equals_native(lm, recording):
    waveform, inputs = recording
    checks.check_prompt_equals_native(lm, inputs, QUESTION, waveform)
    checks.check_places(lm, inputs, QUESTION, waveform, tiny_voxtral.AUDIO_TOKEN)


def test_prompt_is_the_processors(lm, recording):
    waveform, inputs = recording
    template = lm._template(QUESTION, QUESTION)
    speech = torch.full((len(lm.encode(waveform)),), tiny_voxtral.AUDIO_TOKEN)
    ids = torch.cat([template.ids[: template.audio], speech, template.ids[template.audio + 1 :]])
    assert torch.equal(ids, inputs["input_ids"][0])


def test_pruned_equals_hand_made(lm, recording):
    waveform, inputs = recording
    checks.check_pruned(lm, inputs, QUESTION, waveform, tiny_voxtral.AUDIO_TOKEN)


def test_generate(lm, recording):
    waveform, inputs = recording
    checks.check_generates_natively(lm, inputs, QUESTION, waveform, tokens=12)


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
            position_ids=places[None],
        ).logits[0]
    expected = logits.log_softmax(-1)[-len(ids) - 1 : -1].gather(1, ids[:, None]).sum()
    checks.assert_close(lm.loglikelihood(pruned, ["in the old harbor"])[0], expected, atol=1e-3)


@pytest.mark.parametrize(("seconds", "tokens"), [(0.1, 375), (12, 375), (30, 375), (31, 750), (70, 1125)])
def test_tokens_and_times(lm, seconds, tokens):
    encoded = lm.encode(checks.noise(seconds))
    starts = torch.arange(tokens) / 12.5
    assert len(encoded) == tokens
    torch.testing.assert_close(encoded.times, torch.stack([starts, starts + 0.08], dim=1), atol=1e-4, rtol=0)


@pytest.mark.parametrize("samples", [1, 64, 399, 800])
def test_any_tail_is_padded_to_a_window(lm, samples):
    whole, tail = checks.noise(30), checks.noise(1, seed=3)[:samples]
    tokens = lm.encode(np.concatenate([whole, tail]))
    assert len(tokens) == 750
    assert torch.equal(tokens.embeds[:375], lm.encode(whole).embeds)
    with torch.inference_mode():
        expected = lm.model.get_audio_features(conversation(lm, tail)["input_features"]).pooler_output
    checks.assert_close(tokens.embeds[375:], expected)


def test_one_window_at_a_time(lm):
    checks.check_one_window_at_a_time(lm, lm.model.model.audio_tower)


def test_an_extractor_that_would_truncate_does_not(lm, tmp_path):
    capped = Voxtral(lm.model, tiny_voxtral.processor(tmp_path, chunk_length=10))
    assert (
        len(capped.processor.feature_extractor(checks.noise(30), sampling_rate=16_000)["input_features"][0, 0])
        == 1000
    )
    assert torch.equal(capped.encode(checks.noise(31)).embeds, lm.encode(checks.noise(31)).embeds)


@pytest.mark.parametrize("order", [1, -1], ids=["rising", "falling"])
def test_how_the_processor_differs_over_30_s(lm, order):
    """As documented: 3 frames at a cut, and the floor, which follows the whole recording's loudest frame."""
    waveform = checks.noise(70)[::order].copy()
    whole, alone = conversation(lm, waveform)["input_features"], native(lm, waveform)["input_features"]
    floored = torch.maximum(alone, alone.amax() - 2)
    differ = ((whole - floored).abs() > 1e-4).any(dim=1)
    cuts = torch.zeros_like(differ)
    cuts[:-1, -1] = True
    cuts[1:, :2] = True
    assert not (differ & ~cuts).any()
    assert differ.any()


@pytest.mark.parametrize(
    "question", [QUESTION, "Was wird für Zoë beschlossen, für 3 €?", "the", "[AUDIO] [/INST]?"]
)
def test_the_query_is_found_by_bytes(lm, question):
    """Also where its last token swallows the line break behind it, and where it looks like special tokens."""
    text = list_choices(question, [question + " x", "no"])
    template = lm._template(text, question)
    pieces = [lm.processor.tokenizer.decode(template.ids[template.query[i:]]) for i in range(2)]
    last = lm.processor.tokenizer.decode(template.ids[template.query[:-1]])
    assert pieces[0].removesuffix("\n") == question
    assert not pieces[1].startswith(question)
    assert not last.startswith(question)
    assert template.query.tolist() == list(range(template.audio + 1, template.audio + 1 + len(template.query)))


def test_the_query_is_found_behind_other_text(lm):
    template = lm._template("Listen: " + QUESTION, QUESTION)
    assert lm.processor.tokenizer.decode(template.ids[template.query]) == QUESTION


def test_a_question_that_looks_like_special_tokens_is_text(lm):
    inputs = conversation(lm, checks.noise(1), "[AUDIO] [/INST]?")
    ids = lm._template("[AUDIO] [/INST]?", "[AUDIO] [/INST]?").ids
    assert ids.tolist().count(tiny_voxtral.AUDIO_TOKEN) == 1
    assert len(ids) - 1 + 375 == inputs["input_ids"].shape[1]


def test_first_layer(lm):
    layer = lm.model.model.language_model.layers[0].self_attn
    qk = lm.first_layer_qk()
    assert torch.equal(qk.w_q, layer.q_proj.weight)
    assert torch.equal(qk.w_k, layer.k_proj.weight)
    assert (qk.heads, qk.kv_heads, qk.head_dim) == (4, 2, 8)


def test_half_precision(tmp_path):
    lm = Voxtral(tiny_voxtral.model().to(torch.bfloat16), tiny_voxtral.processor(tmp_path))
    prompt = lm.prompt(lm.encode(checks.noise(1)), lm.query(QUESTION))
    assert prompt.embeds.dtype == torch.bfloat16
    assert torch.isfinite(lm.logits(prompt)).all()


def test_without_mistral_common(lm, monkeypatch):
    monkeypatch.setitem(sys.modules, "mistral_common", None)
    with pytest.raises(MissingDependencyError, match=r"pip install 'auricle\[voxtral\]'"):
        Voxtral(lm.model, lm.processor)


def test_registered():
    assert find("VoxtralForConditionalGeneration", MODELS, "model", "auricle.models") is Voxtral
