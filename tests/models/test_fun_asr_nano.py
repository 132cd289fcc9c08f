"""The adapter of Fun-ASR-Nano against the model's own forward."""

import pytest

from auricle.models.fun_asr_nano import FunAsrNano
from models import checks, tiny_fun, windowed

pytest.importorskip("torchaudio", reason="Fun-ASR's feature extractor needs torchaudio", exc_type=ImportError)

QUESTION = "What is decided in the meeting?"


@pytest.fixture(scope="module")
def lm():
    return FunAsrNano(*tiny_fun.tiny_fun_asr_nano())


def native(lm, waveform):
    """The processor's own inputs for a transcript with the question as its context."""
    return lm.processor.apply_transcription_request(waveform, prompt=QUESTION)


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


def test_the_question_stands_before_the_speech(lm, recording):
    prompt = lm.prompt(lm.encode(recording[0]), lm.query(QUESTION))
    assert prompt.query.max() < prompt.audio.min()


@pytest.mark.parametrize("question", ["assistant", "system", "a", "Transcribe"])
def test_the_question_is_not_taken_for_a_part_of_the_template(lm, question):
    found = lm._template(question, question)
    before = lm._template(QUESTION, QUESTION).query[0]
    assert found.query[0] == before
    assert lm.processor.tokenizer.decode(found.ids[found.query]).strip() == question


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
    # 30 s are 2998 frames of 25 ms, a new one every 10 ms, of which every sixth begins a token; 10 s are 998.
    assert len(tokens) == 500 + 500 + 167
    checks.check_seventy_seconds(lm, tokens)


def test_any_tail(lm):
    checks.check_short_tails(lm, (1 / 16_000, 0.02499, 0.025, 0.2))


def test_one_window_at_a_time(lm):
    checks.check_one_window_at_a_time(lm, lm.model.model.audio_tower)


def test_first_layer(lm):
    checks.check_first_layer(lm, lm.encode(checks.noise(12)).embeds)
    qk = lm.first_layer_qk()
    assert (qk.heads, qk.kv_heads, qk.head_dim) == (4, 2, 8)


def test_the_model_itself_fails_beyond_two_minutes(lm):
    """Why recordings are encoded in windows."""
    with pytest.raises(RuntimeError):
        checks.native_logits(lm.model, native(lm, checks.noise(125)))
    assert len(lm.encode(checks.noise(125))) == 4 * 500 + 83
