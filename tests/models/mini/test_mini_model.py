"""auricle-mini's adapter, model and processor, against the model's own forward."""

import numpy as np
import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoProcessor

import auricle
from auricle.audio import SAMPLE_RATE
from auricle.errors import ModelError
from auricle.models.mini.adapter import AuricleMini, render
from auricle.models.mini.configuration import AuricleMiniConfig
from auricle.models.mini.modeling import AuricleMiniForConditionalGeneration
from auricle.models.mini.processing import AuricleMiniProcessor, token_count
from models import checks, tiny_mini

QUESTION = "Where does the boat lie?"


@pytest.fixture(scope="module")
def lm():
    return auricle.load(tiny_mini.model(), tiny_mini.processor())


def native(lm, waveform):
    return lm.processor(text=render(QUESTION), audio=waveform, sampling_rate=SAMPLE_RATE, return_tensors="pt")


@pytest.fixture(scope="module", params=[12.0, 70.0], ids=["12s", "70s"])
def recording(request, lm):
    waveform = checks.noise(request.param)
    return waveform, native(lm, waveform)


def test_its_adapter(lm):
    assert type(lm) is AuricleMini
    assert lm.tokens_per_second == 12.5


def test_equals_native(lm, recording):
    waveform, inputs = recording
    checks.check_prompt_equals_native(lm, inputs, QUESTION, waveform)
    checks.check_places(lm, inputs, QUESTION, waveform, tiny_mini.AUDIO_TOKEN_ID)


def test_pruned_equals_hand_made(lm, recording):
    waveform, inputs = recording
    checks.check_pruned(lm, inputs, QUESTION, waveform, tiny_mini.AUDIO_TOKEN_ID)


def test_generate(lm, recording):
    waveform, inputs = recording
    checks.check_generates_natively(lm, inputs, QUESTION, waveform)


def test_loglikelihood(lm, recording):
    waveform, inputs = recording
    checks.check_loglikelihood(lm, inputs, QUESTION, waveform)


def test_seventy_seconds(lm):
    tokens = lm.encode(checks.noise(70))
    assert len(tokens) == 875
    checks.check_seventy_seconds(lm, tokens)


def test_any_tail(lm):
    checks.check_short_tails(lm)
    longer = lm.encode(np.concatenate([checks.noise(30), np.array([0.1], np.float32)]))
    assert len(longer) == 376  # a window of one sample has a token of its own
    assert longer.times[-1].tolist() == pytest.approx([30.0, 30.08])


def test_one_window_at_a_time(lm):
    checks.check_one_window_at_a_time(lm, lm.model.audio_tower)


def test_first_layer(lm):
    layer = lm.model.language_model.model.layers[0].self_attn
    qk = lm.first_layer_qk()
    assert torch.equal(qk.w_q, layer.q_proj.weight)
    assert torch.equal(qk.w_k, layer.k_proj.weight)
    assert (qk.heads, qk.kv_heads, qk.head_dim) == (4, 2, 8)


def test_tokens_differ_in_time(lm):
    """A connector that heard nothing would pass all comparisons."""
    embeds = lm.encode(checks.noise(12)).embeds
    assert embeds.std(0).mean() > 0.01


def test_speech_tokens_are_the_llms_tokens(lm):
    """Those that the best path spells, window by window."""
    waveform, table = checks.noise(32), lm.model.language_model.model.embed_tokens.weight
    features, lengths = lm.processor.features([waveform[:480_000], waveform[480_000:]])
    with torch.no_grad():
        best = lm.model.hear(features).argmax(-1)
    heard = [lm.model.spelling.frames(row[:length]) for row, length in zip(best, lengths.tolist(), strict=True)]
    assert torch.equal(lm.encode(waveform).embeds, table[torch.cat(heard)])
    assert lengths.tolist() == [375, 25]


def test_pieces_and_blank_are_named(lm):
    spelling, config = lm.model.spelling, lm.model.config
    assert list(spelling.pieces) == lm.processor.tokenizer.convert_ids_to_tokens(config.piece_ids)
    assert lm.processor.tokenizer.convert_ids_to_tokens(spelling.blank) == "Ġ"
    assert spelling.tokens["he"] == lm.processor.tokenizer.convert_tokens_to_ids("he")


@pytest.mark.parametrize("samples", [1, 1279, 1280, 1281, 480_000])
def test_begun_tokens_count(lm, samples):
    features, lengths = lm.processor.features([np.full(samples, 0.1, np.float32)])
    assert lengths.tolist() == [token_count(samples)] == [-(-samples // 1280)]
    assert features.shape == (1, 80, 3000)


def test_pruned_inside_a_context(lm):
    """The model's own `generate` in a `with`, as existing Hugging Face code has it."""
    waveform = checks.noise(12)
    inputs, pruner = native(lm, waveform), auricle.SpeechPrune(0.6)
    tokens, query = lm.encode(waveform), lm.query(QUESTION)
    kept = lm.prompt(tokens, query).keep(pruner.keep(tokens, query, lm))
    with pruner(lm.model, lm.processor, QUESTION), torch.no_grad():
        logits = lm.model(**inputs).logits[0]
    assert len(logits) < inputs["input_ids"].shape[1]
    checks.assert_close(logits, lm.logits(kept))
    streamed = checks.Ids()
    lm.generate(kept, max_new_tokens=5, streamer=streamed)
    with pruner(lm.model, lm.processor):
        ids = lm.model.generate(**inputs, do_sample=False, max_new_tokens=5)
    assert ids[0, inputs["input_ids"].shape[1] :].tolist() == streamed.ids


def test_without_speech(lm):
    inputs = lm.processor(text="What is the boat?")
    assert inputs.keys() == {"input_ids", "attention_mask"}
    expected = lm.model.language_model(input_ids=inputs["input_ids"]).logits
    assert torch.equal(lm.model(**inputs).logits, expected)


def test_speech_without_its_lengths_is_refused(lm):
    inputs = dict(native(lm, checks.noise(1)))
    del inputs["audio_lengths"]
    with pytest.raises(ModelError, match="audio_lengths"):
        lm.model(**inputs)


@pytest.mark.parametrize("text", ["no place", "<filename><filename>"])
def test_as_many_placeholders_as_tokens(lm, text):
    inputs = lm.processor(text=text, audio=checks.noise(1))
    with pytest.raises(ModelError, match="placeholders for 13 speech tokens"):
        lm.model(**inputs)


def test_neither_ids_nor_embeddings(lm):
    with pytest.raises(ModelError, match="input_ids"):
        lm.model()


def test_save_and_load(lm, tmp_path):
    lm.model.save_pretrained(tmp_path)
    lm.processor.save_pretrained(tmp_path)
    assert isinstance(AutoConfig.from_pretrained(tmp_path), AuricleMiniConfig)
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path)
    assert isinstance(loaded, AuricleMiniForConditionalGeneration)
    state = loaded.state_dict()
    assert state.keys() == lm.model.state_dict().keys()
    assert all(torch.equal(weight, state[name]) for name, weight in lm.model.state_dict().items())
    tied = loaded.language_model
    assert tied.lm_head.weight.data_ptr() == tied.model.embed_tokens.weight.data_ptr()
    assert isinstance(AutoProcessor.from_pretrained(tmp_path), AuricleMiniProcessor)

    waveform = checks.noise(2)
    for again in (auricle.load(tmp_path), auricle.load(tmp_path, device_map="cpu")):
        assert type(again) is AuricleMini
        assert native(again, waveform)["input_ids"].tolist() == native(lm, waveform)["input_ids"].tolist()
        prompts = [each.prompt(each.encode(waveform), each.query(QUESTION)) for each in (lm, again)]
        assert torch.equal(again.logits(prompts[1]), lm.logits(prompts[0]))


def test_the_config_keeps_its_parts(tmp_path):
    config = tiny_mini.config()
    config.save_pretrained(tmp_path)
    again = AuricleMiniConfig.from_pretrained(tmp_path)
    assert again.piece_ids == config.piece_ids
    assert again.spellings == config.spellings
    assert again.blank_id == config.blank_id
    assert again.text_config.hidden_size == 32
    assert again.audio_config.d_model == 16
    assert (again.connector_dim, again.connector_layers) == (16, 1)
    assert again.get_text_config().max_position_embeddings == 4096
