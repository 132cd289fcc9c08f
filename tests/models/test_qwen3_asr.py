"""The adapter of Qwen3-ASR against the model's own forward."""

import numpy as np
import pytest
import torch

from auricle.audio import SAMPLE_RATE
from auricle.errors import ModelError, QueryError
from auricle.models.qwen3_asr import Qwen3ASR
from auricle.pruning.speechprune import SpeechPrune
from auricle.questions import list_choices
from auricle.registry import MODELS, find
from auricle.summarization import summarizer
from models import checks, encoder_windows, tiny_qwen3_asr

QUESTION = "What is decided in the meeting?"
NAMES = ("input_features", "input_features_mask")


@pytest.fixture(scope="module")
def lm():
    return Qwen3ASR(*tiny_qwen3_asr.tiny_qwen3_asr())


def request_of(processor, waveform, context=QUESTION):
    """The processor's own inputs for a transcript, with a context in the system prompt."""
    return dict(processor.apply_transcription_request(waveform, prompt=context))


def native(lm, waveform):
    """The processor's own inputs, as one recording, with every window's frames as it makes them of that window."""
    return encoder_windows.joined(lm, waveform, lambda samples: request_of(lm.processor, samples), *NAMES)


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


@pytest.mark.parametrize("question", [QUESTION, "system", "user", "s", "Is <|audio_pad|> said?"])
def test_the_question_is_found_in_the_context(lm, question):
    """Though the template has such words of its own, and though the question has a placeholder."""
    template = lm._template(list_choices(question, ["yes", "no"]), question)
    tokenizer = lm.processor.tokenizer
    found = tokenizer.decode(template.ids[template.query]).removesuffix("\n")  # one token is "?\n"
    assert found == question
    assert tokenizer.decode(template.ids[: template.query[0]]) == "<|im_start|>system\n"
    around = tokenizer.decode(template.ids[template.audio - 1 : template.audio + 2])
    assert around == "<|audio_start|><|audio_pad|><|audio_end|>"


def test_pruned_equals_hand_made(lm, recording):
    waveform, inputs = recording
    checks.check_pruned(lm, inputs, QUESTION, waveform, lm.model.config.audio_token_id)


def test_generate(lm, recording):
    waveform, inputs = recording
    checks.check_generates_natively(lm, inputs, QUESTION, waveform, tokens=12)


def test_loglikelihood(lm, recording):
    waveform, inputs = recording
    checks.check_loglikelihood(lm, inputs, QUESTION, waveform)
    checks.check_layers(lm, QUESTION, waveform)


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("language English<asr_text>The boat lies.", "The boat lies."),
        ("language None<asr_text>", ""),
        ("language English<asr_text> a<asr_text>b", "a<asr_text>b"),
        ("The language of boats.", "The language of boats."),
        ("language of boats", "language of boats"),
    ],
)
def test_answers_are_without_the_language(lm, written, said):
    ids = torch.tensor(lm._tokenize(written))
    assert lm.decode(ids) == said
    assert lm.processor.decode(ids, return_format="transcription_only") == said


def test_what_is_told_of_an_answer_on_its_way_begins_with_what_was_said(lm):
    for part in ("language", "language ", "language English"):
        assert lm.decode(torch.tensor(lm._tokenize(part))) == ""


def test_seventy_seconds(lm):
    tokens = lm.encode(checks.noise(70))
    assert len(tokens) == 910
    checks.check_seventy_seconds(lm, tokens)


@pytest.mark.parametrize("samples", [1600, 7999, 8000, 8160, 16_000, 16_160, 200_000, 384_001, 400_159, 480_000])
def test_any_length_up_to_30_s_equals_native(lm, samples):
    waveform = checks.noise(30)[:samples]
    inputs = request_of(lm.processor, waveform)
    tokens = lm.encode(waveform)
    placeholders = int((inputs["input_ids"] == lm.model.config.audio_token_id).sum())
    with torch.inference_mode():
        expected = lm.model.get_audio_features(*(inputs[name] for name in NAMES)).pooler_output
    assert len(tokens) == placeholders == encoder_windows.tokens_of(max(8000, samples) // 160)
    checks.assert_close(tokens.embeds, expected)
    checks.assert_close(tokens.times[:, 0], torch.arange(placeholders) / 13)


@pytest.mark.parametrize("samples", [1, 159, 160, 6401, 96_000, 96_001])
def test_any_length_over_30_s_equals_native(lm, samples):
    waveform = np.concatenate([checks.noise(48), checks.noise(7, seed=3)[:samples]])
    checks.check_prompt_equals_native(lm, native(lm, waveform), QUESTION, waveform)


def test_one_window_at_a_time(lm):
    frames = []

    def count(_module, _args, kwargs):
        frames.append(tuple(kwargs["input_features"].shape))

    hook = lm.model.model.audio_tower.register_forward_pre_hook(count, with_kwargs=True)
    lm.encode(checks.noise(70))
    hook.remove()
    assert frames == [(1, 128, 2400), (1, 128, 2400), (1, 128, 2200)]


@pytest.mark.parametrize("order", [1, -1], ids=["rising", "falling"])
def test_how_the_processor_differs_over_30_s(lm, order):
    """As documented: up to 3 frames at a cut, and the floor, which follows the whole recording's loudest frame."""
    waveform = checks.noise(70)[::order].copy()
    together = request_of(lm.processor, waveform)["input_features"][0]
    encoder_windows.check_frames(together, native(lm, waveform)["input_features"][0])


def test_first_layer(lm):
    checks.check_first_layer(lm, lm.encode(checks.noise(12)).embeds)
    qk = lm.first_layer_qk()
    assert (qk.heads, qk.kv_heads, qk.head_dim) == (4, 2, 16)


@pytest.mark.parametrize("name", encoder_windows.PRUNERS)
def test_pruners(lm, name):
    encoder_windows.check_pruner(lm, name, QUESTION)


def test_half_precision():
    model, processor = tiny_qwen3_asr.tiny_qwen3_asr()
    lm = Qwen3ASR(model.to(torch.bfloat16), processor)
    prompt = lm.prompt(lm.encode(checks.noise(1)), lm.query(QUESTION))
    assert prompt.embeds.dtype == torch.bfloat16
    assert torch.isfinite(lm.logits(prompt)).all()


def test_existing_code_without_a_context_says_what_to_do(lm):
    inputs = request_of(lm.processor, checks.noise(12), None)
    with SpeechPrune(0.6)(lm.model, lm.processor), pytest.raises(QueryError, match="not found before the speech"):
        lm.model.generate(**inputs, max_new_tokens=2)
    with SpeechPrune(0.6)(lm.model, lm.processor, question="harbor"):
        ids = lm.model.generate(**inputs, max_new_tokens=2)
    assert torch.equal(ids[:, :-2], inputs["input_ids"])


def test_it_has_no_memory(lm):
    with pytest.raises(ModelError, match=r"cannot summarize; .* no norms of queries and keys"):
        summarizer.load(lm, summarizer.UNTRAINED)


def test_weights_of_another_layout_are_refused():
    """transformers would leave all of them random, as it finds none of their names."""
    model, processor = tiny_qwen3_asr.tiny_qwen3_asr()
    model.config.thinker_config = {"audio_config": {}}
    with pytest.raises(ModelError, match="ends in -hf"):
        Qwen3ASR(model, processor)


def test_a_recording_of_minutes(lm):
    assert len(lm.encode(np.zeros(310 * SAMPLE_RATE, dtype=np.float32))) == 310 * 13


def test_registered():
    assert find("Qwen3ASRForConditionalGeneration", MODELS, "model", "auricle.models") is Qwen3ASR
