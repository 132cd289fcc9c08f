"""auricle-mini's adapter, model and processor, against the model's own forward."""

import numpy as np
import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoProcessor

import auricle
from auricle.audio import SAMPLE_RATE, windows_at_pauses
from auricle.errors import AudioError, ModelError
from auricle.models.mini import modeling
from auricle.models.mini.adapter import AuricleMini, render
from auricle.models.mini.configuration import AuricleMiniConfig
from auricle.models.mini.connector import LETTERS
from auricle.models.mini.modeling import AuricleMiniForConditionalGeneration
from auricle.models.mini.processing import AuricleMiniProcessor, token_count
from auricle.models.mini.spelling import SPACE
from auricle.models.mini.writing import Script, Written
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
    checks.check_layers(lm, QUESTION, waveform)


def test_seventy_seconds(lm):
    tokens = lm.encode(checks.noise(70))
    assert len(tokens) == 875
    checks.check_seventy_seconds(lm, tokens)


@pytest.mark.parametrize("tail", [1, 64, 800, 2000])
def test_any_tail(lm, tail):
    tokens = lm.encode(checks.noise(30 + tail / SAMPLE_RATE))
    assert len(tokens) == token_count(480_000 + tail)
    assert torch.isfinite(tokens.embeds).all()
    assert tokens.times[375].tolist() == pytest.approx([30.0, 30.08])


def test_the_llm_can_be_tuned_natively(lm):
    model = tiny_mini.model()  # its weights want gradients
    model(**native(lm, checks.noise(2))).logits.sum().backward()
    assert model.language_model.model.layers[0].mlp.up_proj.weight.grad is not None
    assert all(weight.grad is None for part in (model.audio_tower, model.connector) for weight in part.parameters())


def test_every_beam_hears_the_whole_recording(lm, recording):
    _, inputs = recording
    ids, speech = lm.model._expand_inputs_for_generation(expand_size=2, **inputs)
    first, second = lm.model._merge(ids, speech["input_features"], speech["audio_lengths"])
    (alone,) = lm.model._merge(inputs["input_ids"], inputs["input_features"], inputs["audio_lengths"])
    assert torch.equal(first, alone)
    assert torch.equal(second, alone)
    found = lm.model.generate(**inputs, num_beams=2, num_return_sequences=2, max_new_tokens=3, do_sample=False)
    assert len(found) == 2


def test_beams_take_one_prompt_at_a_time(lm):
    inputs = native(lm, checks.noise(2))
    two = {name: torch.cat([each, each]) for name, each in inputs.items()}
    with pytest.raises(ModelError, match="call generate for each"):
        lm.model.generate(**two, num_beams=2)


@pytest.mark.parametrize(("shape", "rate"), [((16_000, 2), SAMPLE_RATE), ((0,), SAMPLE_RATE), ((8_000,), 8_000)])
def test_audio_that_the_processor_does_not_take(lm, shape, rate):
    with pytest.raises(AudioError, match="Expected mono samples at 16000 Hz"):
        lm.processor(text=render(QUESTION), audio=np.zeros(shape, np.float32), sampling_rate=rate)


def test_the_end_of_an_answer_is_the_templates(lm, monkeypatch):
    written = lm._template("Hello", "Hello").ids.tolist()
    for given, expected in ((5, 5), ([999, written[0]], written[0]), ([998, 999], 998)):
        lm.__dict__.pop("_end_id", None)
        monkeypatch.setattr(lm.model.generation_config, "eos_token_id", given)
        assert int(lm.answer_ids("x")[-1]) == expected
    lm.__dict__.pop("_end_id")
    monkeypatch.setattr(lm.model.generation_config, "eos_token_id", None)
    with pytest.raises(ModelError, match="set its generation_config"):
        lm.answer_ids("x")


def test_eight_windows_at_a_time_hear_what_each_hears_alone(lm):
    waveform, batches = checks.noise(250), list[int]()
    hook = lm.model.audio_tower.register_forward_pre_hook(lambda _, given: batches.append(len(given[0])))
    try:
        found = lm.encode(waveform).embeds
    finally:
        hook.remove()
    cut = list(lm._windows(waveform))
    assert 8 < len(cut) <= 16
    assert batches == [8, len(cut) - 8]
    torch.testing.assert_close(found, torch.cat([lm._encode_window(window) for window in cut]))


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


def hear(model, processor, *waveforms):
    features, lengths = processor.features(waveforms)
    with torch.no_grad():
        states = model.audio_tower(features).last_hidden_state
        return model.hear(states, lengths), states, lengths


def test_speech_tokens_are_the_llms_tokens(lm):
    """Those that are heard, window by window."""
    waveform, table = checks.noise(32), lm.model.language_model.model.embed_tokens.weight
    heard, _, lengths = hear(lm.model, lm.processor, *windows_at_pauses(waveform))
    assert lengths.tolist() == [len(each.ids) for each in heard]
    assert (len(heard), lengths.sum()) == (2, 400)
    assert torch.equal(lm.encode(waveform).embeds, table[torch.cat([each.ids for each in heard])])


def test_what_is_heard_is_spelled_as_the_llm_spells_it(lm):
    tokenizer, ends = lm.processor.tokenizer, []
    for seconds in (1, 12, 30):
        (heard,), _, _ = hear(lm.model, lm.processor, checks.noise(seconds))
        spelled = [token for token in heard.ids.tolist() if token != tiny_mini.AUDIO_TOKEN_ID]
        text = tokenizer.decode(spelled).strip()
        assert heard.text.startswith(text)
        assert SPACE not in heard.text
        assert len(set(text)) > 3
        ends.append(heard.text == text)
    assert any(ends)  # where there are frames for all of it


def test_silence_is_zero(lm):
    embeds = lm.encode(checks.noise(12)).embeds
    (heard,), _, _ = hear(lm.model, lm.processor, checks.noise(12))
    silent = heard.ids == tiny_mini.AUDIO_TOKEN_ID
    assert torch.equal((embeds == 0).all(1), silent)
    assert 10 < silent.sum() < len(silent) - 10


def test_where_nothing_is_heard_all_is_silence(lm):
    model = tiny_mini.model()
    with torch.no_grad():
        model.connector.net[-1].bias[LETTERS] += 1e4
    waveform = checks.noise(31)
    heard, _, _ = hear(model, lm.processor, *windows_at_pauses(waveform))
    assert not any(each.text.strip(".,") for each in heard)  # signs without letters contradict nothing
    tokens = auricle.load(model, lm.processor).encode(waveform)
    assert (tokens.embeds != 0).any(1).sum() <= len(heard) == 2


def test_windows_are_heard_alone(lm):
    waveform = checks.noise(35)
    waveform[25 * SAMPLE_RATE : 26 * SAMPLE_RATE] = 0
    whole, rest = windows_at_pauses(waveform)
    assert 25 * SAMPLE_RATE < len(whole) < 26 * SAMPLE_RATE
    both = lm.encode(waveform).embeds
    assert torch.equal(both, torch.cat([lm.encode(whole).embeds, lm.encode(rest).embeds]))
    together, _, _ = hear(lm.model, lm.processor, whole, rest)
    for heard, waveform in zip(together, (whole, rest), strict=True):
        (alone,), _, _ = hear(lm.model, lm.processor, waveform)
        assert alone.text == heard.text
        assert torch.equal(alone.ids, heard.ids)


def test_what_is_written_is_what_the_connector_hears(lm, monkeypatch):
    """Over the window's own length; what the padding sounds like does not count."""
    given = []

    def write(decoder, states, heard, script):
        given.append((decoder, states, heard, script))
        tokens = tuple(script.pieces.index(piece) for piece in ("Ġthe", "Ġ1", "."))
        return [Written(tokens, (6, 20, 31)), Written((), ())]

    monkeypatch.setattr(modeling, "write", write)
    spoken, silent = hear(lm.model, lm.processor, checks.noise(2), checks.noise(12))[0]
    assert (spoken.text, silent.text) == ("the 1.", "")
    spelled = lm.processor.tokenizer(" the 1.", add_special_tokens=False)["input_ids"]
    assert spoken.ids[[3, 10, 11, 15]].tolist() == spelled
    assert (spoken.ids != tiny_mini.AUDIO_TOKEN_ID).sum() == 4
    assert set(silent.ids.tolist()) == {tiny_mini.AUDIO_TOKEN_ID}

    ((decoder, states, heard, script),) = given
    assert decoder is lm.model.audio_decoder
    assert script == Script(tiny_mini.PIECES, tuple(lm.model.config.prompt_ids), lm.model.config.end_id)
    logs = lm.model.connector(states).log_softmax(-1)
    for each, row, halves in zip(heard, logs, (50, 300), strict=True):
        torch.testing.assert_close(torch.tensor(each.letters).float(), row[:halves])


def test_the_llms_tokens_are_named(lm):
    tokenizer, spelling, config = lm.processor.tokenizer, lm.model.spelling, lm.model.config
    assert spelling.tokens["he"] == tokenizer.convert_tokens_to_ids("he")
    assert spelling.blank == config.audio_token_id == tokenizer.convert_tokens_to_ids("<filename>")


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
    assert (loaded.script, loaded.spelling) == (lm.model.script, lm.model.spelling)
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
    assert again.pieces == config.pieces == list(tiny_mini.PIECES)
    assert again.spellings == config.spellings
    assert again.prompt_ids == [tiny_mini.PIECES.index(piece) for piece in tiny_mini.PROMPT]
    assert again.end_id == tiny_mini.PIECES.index("<|endoftext|>")
    assert again.audio_token_id == tiny_mini.AUDIO_TOKEN_ID
    assert again.text_config.hidden_size == 32
    assert (again.audio_config.d_model, again.audio_config.decoder_layers) == (16, 2)
    assert (again.connector_dim, again.connector_layers) == (16, 1)
    assert again.get_text_config().max_position_embeddings == 4096
