"""Existing Hugging Face code in a `with`: what comes out, and that nothing of it stays."""

from dataclasses import dataclass

import pytest
import torch
from transformers import GenerationConfig, TextStreamer

from auricle.errors import ModelError, OptionError, QueryError, UnknownNameError
from auricle.loading import load
from auricle.pruning.base import Pruner
from auricle.pruning.fastlongspeech import FastLongSpeech
from auricle.pruning.fastv import FastV
from auricle.pruning.speechprune import SpeechPrune
from auricle.speech_lm import Positions
from models import (
    checks,
    test_qwen2_5_omni,
    test_qwen3_omni_moe,
    tiny,
    tiny_fun,
    tiny_glm,
    tiny_omni,
    tiny_qwen3_asr,
    tiny_qwen3_omni,
)

QUESTION = "What is decided in the meeting?"
NEW = {"do_sample": False, "max_new_tokens": 6}


@dataclass(frozen=True)
class EveryOther(Pruner):
    step: int = 2
    positions: Positions = "renumber"

    def keep(self, tokens, query, lm):
        return torch.arange(0, len(tokens), self.step)


@dataclass(frozen=True)
class Recorder(Pruner):
    """Keeps all, and remembers what it was asked."""

    asked: list

    def keep(self, tokens, query, lm):
        self.asked.append((tokens, query))
        return torch.arange(len(tokens))


def inputs_of(processor, waveform, text=QUESTION):
    content = [{"type": "audio", "audio": waveform}, {"type": "text", "text": text}]
    return processor.apply_chat_template(
        [{"role": "user", "content": content}],
        tokenize=True,
        add_generation_prompt=True,
        return_dict=True,
        return_tensors="pt",
    )


BUILDERS = {"qwen2_audio": tiny.tiny_qwen2_audio, "audio_flamingo3": tiny.tiny_audio_flamingo3}


@pytest.fixture(params=BUILDERS)
def setting(request):
    model, processor = BUILDERS[request.param]()
    waveform = checks.noise(12)
    return model, processor, waveform, inputs_of(processor, waveform)


def state(model):
    """Everything about a model that could be left changed, other than its weights."""
    modules = {
        name: (m.training, sorted(vars(m)), dict(m._forward_pre_hooks), dict(m._forward_hooks))
        for name, m in model.named_modules()
    }
    return modules, {name: weight.requires_grad for name, weight in model.named_parameters()}


def expected_ids(setting, pruner):
    """New ids by the adapter's own way: encode, prune, generate."""
    model, processor, waveform, _ = setting
    lm = load(model, processor)
    tokens, query = lm.encode(waveform), lm.query(QUESTION)
    prompt = lm.prompt(tokens, query).keep(pruner.keep(tokens, query, lm), pruner.positions)
    streamed = checks.Ids()
    lm.generate(prompt, max_new_tokens=6, streamer=streamed)
    return streamed.ids


@pytest.mark.parametrize(
    "pruner",
    [EveryOther(), EveryOther(7, "original"), SpeechPrune(0.6), SpeechPrune(0.9, positions="original")],
    ids=["every-other", "every-7th-original", "speechprune", "speechprune-original"],
)
def test_generates_from_what_is_kept(setting, pruner):
    model, processor, _, inputs = setting
    native = model.generate(**inputs, **NEW)
    with pruner(model, processor):
        ids = model.generate(**inputs, **NEW)
    length = inputs["input_ids"].shape[1]
    assert torch.equal(ids[:, :length], inputs["input_ids"])
    assert ids[0, length:].tolist() == expected_ids(setting, pruner)
    assert ids.tolist() != native.tolist()  # else this setting could not tell pruned from unpruned


def test_keeping_all_is_the_native_call(setting):
    model, processor, _, inputs = setting
    options = {**NEW, "repetition_penalty": 1.3, "output_scores": True, "return_dict_in_generate": True}
    native = model.generate(**inputs, **options)
    with SpeechPrune(pruning_rate=0.0)(model, processor):
        ours = model.generate(**inputs, **options)
        logits = model(**inputs).logits
    assert torch.equal(ours.sequences, native.sequences)
    assert torch.equal(torch.stack(ours.scores), torch.stack(native.scores))
    assert torch.equal(logits, model(**inputs).logits)


def test_forward_reads_what_is_kept(setting):
    model, processor, waveform, inputs = setting
    lm = load(*setting[:2])
    tokens, query = lm.encode(waveform), lm.query(QUESTION)
    kept = lm.prompt(tokens, query).keep(torch.arange(0, len(tokens), 2))
    with EveryOther()(model, processor), torch.no_grad():
        logits = model(**inputs).logits[0]
    checks.assert_close(logits, lm.logits(kept))


def test_nothing_stays(setting):
    model, processor, _, inputs = setting
    model.train()
    model.lm_head.requires_grad_(False)
    before = state(model)
    context = EveryOther()(model, processor)
    assert state(model) == before
    with context:
        assert "generate" in vars(model)
        model.generate(**inputs, **NEW)
    assert state(model) == before


def test_nothing_stays_after_an_exception(setting):
    model, processor, _, inputs = setting
    before, native = state(model), model.generate(**inputs, **NEW)

    class Failing(EveryOther):
        def keep(self, tokens, query, lm):
            raise RuntimeError("inside keep")

    with pytest.raises(RuntimeError, match="inside keep"), Failing()(model, processor):
        model.generate(**inputs, **NEW)
    with pytest.raises(KeyError), EveryOther()(model, processor):
        raise KeyError
    assert state(model) == before
    assert torch.equal(model.generate(**inputs, **NEW), native)


def test_an_instance_attribute_comes_back(setting):
    """accelerate, for one, sets `forward` on the instance."""
    model, processor, _, inputs = setting
    calls = []
    original = model.forward

    def forward(*args, **kwargs):
        calls.append(kwargs)
        return original(*args, **kwargs)

    model.forward = forward
    with EveryOther()(model, processor):
        model.generate(
            input_ids=inputs["input_ids"], **{k: v for k, v in inputs.items() if k != "input_ids"}, **NEW
        )
    assert vars(model)["forward"] is forward
    assert calls


def test_used_again_and_nested(setting):
    model, processor, _, inputs = setting
    native = model.generate(**inputs, **NEW).tolist()
    context = EveryOther()(model, processor)
    with context:
        first = model.generate(**inputs, **NEW).tolist()
        with EveryOther(1)(model, processor):
            assert model.generate(**inputs, **NEW).tolist() == native  # the innermost counts
        with context:
            assert model.generate(**inputs, **NEW).tolist() == first
        assert model.generate(**inputs, **NEW).tolist() == first
    assert model.generate(**inputs, **NEW).tolist() == native
    with context:
        assert model.generate(**inputs, **NEW).tolist() == first


def test_as_options_of_generate_allow(setting):
    model, processor, _, inputs = setting
    length = inputs["input_ids"].shape[1]
    rest = {name: value for name, value in inputs.items() if name != "input_ids"}
    with EveryOther()(model, processor):
        plain = model.generate(**inputs, **NEW)
        positional = model.generate(inputs["input_ids"], **rest, **NEW)
        maximum = model.generate(**inputs, do_sample=False, max_length=length + 6)
        configured = model.generate(**inputs, generation_config=GenerationConfig(**NEW))
        beams = model.generate(**inputs, **NEW, num_beams=3, num_return_sequences=2)
        told = model.generate(**inputs, **NEW, return_dict_in_generate=True, output_scores=True)
    assert torch.equal(positional, plain)
    assert torch.equal(maximum, plain)
    assert torch.equal(configured, plain)
    assert torch.equal(told.sequences, plain)
    assert len(told.scores) == 6
    assert beams.shape == (2, length + 6)
    assert torch.equal(beams[:, :length], inputs["input_ids"].expand(2, -1))


def test_penalties_see_the_prompt(setting):
    """Logits processors of `generate` read the prompt's ids; a vast penalty forbids all that stand in it."""
    model, processor, _, inputs = setting
    with EveryOther()(model, processor):
        ids = model.generate(**inputs, **NEW, repetition_penalty=1e9)
    new = ids[0, inputs["input_ids"].shape[1] :].tolist()
    assert not set(new) & set(inputs["input_ids"][0].tolist())


def test_streams(setting, capsys):
    model, processor, _, inputs = setting
    with EveryOther()(model, processor):
        ids = model.generate(**inputs, **NEW, streamer=TextStreamer(processor.tokenizer, skip_prompt=True))
    new = processor.tokenizer.decode(ids[0, inputs["input_ids"].shape[1] :])
    assert capsys.readouterr().out.strip() == new.strip() != ""


def test_calls_without_audio_pass(setting):
    model, processor, _, _ = setting
    inputs = processor.tokenizer("What is decided?", return_tensors="pt")
    native = model.generate(**inputs, **NEW)
    with EveryOther()(model, processor):
        assert torch.equal(model.generate(**inputs, **NEW), native)


@pytest.mark.parametrize("text", [QUESTION, "Où est\nle bateau?  Why: A. or B.\n\n1 ", "user", "Audio 1:"])
def test_finds_question_and_tokens(setting, text):
    model, processor, waveform, _ = setting
    pruner = Recorder([])
    with pruner(model, processor):
        model.generate(**inputs_of(processor, waveform, text), **NEW)
    tokens, query = pruner.asked[0]
    assert query.text == text.strip()
    lm = load(model, processor)
    checks.assert_close(tokens.embeds, lm.encode(waveform).embeds, atol=1e-5)
    assert torch.equal(tokens.times, lm.encode(waveform).times)


def test_a_question_given_by_name(setting):
    model, processor, waveform, _ = setting
    pruner = Recorder([])
    conversation = "Listen.\nWhat is decided?\nA. to lie\nB. to decide"
    with pruner(model, processor, question="What is decided?"):
        model.generate(**inputs_of(processor, waveform, conversation), **NEW)
    assert pruner.asked[0][1].text == "What is decided?"


def test_prompts_without_one_question_behind_the_speech(setting):
    model, processor, waveform, _ = setting
    turns = [
        {"role": "user", "content": [{"type": "audio", "audio": waveform}, {"type": "text", "text": "What?"}]},
        {"role": "assistant", "content": "The boat."},
        {"role": "user", "content": "Where?"},
    ]
    options = {"tokenize": True, "return_dict": True, "return_tensors": "pt"}
    later = processor.apply_chat_template(turns, add_generation_prompt=True, **options)
    unfinished = processor.apply_chat_template(turns[:1], **options)
    for inputs in (later, unfinished, inputs_of(processor, waveform, "")):
        with EveryOther()(model, processor), pytest.raises(QueryError, match="question="):
            model.generate(**inputs, **NEW)
        with EveryOther()(model, processor, question="Where?"):
            assert model.generate(**inputs, **NEW).shape[1] == inputs["input_ids"].shape[1] + 6


def test_batches_are_refused(setting):
    model, processor, _, inputs = setting
    two = {name: torch.cat([value, value]) for name, value in inputs.items()}
    with EveryOther()(model, processor), pytest.raises(ModelError, match="batch has 2"):
        model.generate(**two, **NEW)


def test_padded_prompts(setting):
    """Padding on the left, as a tokenizer that pads to a multiple makes it, changes nothing."""
    model, processor, _, inputs = setting
    with EveryOther(3, "original")(model, processor):
        plain = model.generate(**inputs, **NEW)
        pad = torch.full((1, 5), processor.tokenizer.pad_token_id)
        padded = dict(inputs) | {
            "input_ids": torch.cat([pad, inputs["input_ids"]], dim=1),
            "attention_mask": torch.cat([torch.zeros_like(pad), inputs["attention_mask"]], dim=1),
        }
        assert torch.equal(model.generate(**padded, **NEW)[:, 5:], plain)


def test_gradients_flow_through_forward(setting):
    model, processor, _, inputs = setting
    labels = inputs["input_ids"].clone()
    with EveryOther()(model, processor):
        model(**inputs, labels=labels).loss.backward()
    assert model.lm_head.weight.grad.abs().sum() > 0


def test_a_pruner_that_breaks_its_contract(setting):
    model, processor, _, inputs = setting

    class Unsorted(EveryOther):
        def keep(self, tokens, query, lm):
            return torch.tensor([3, 1])

    with Unsorted()(model, processor), pytest.raises(OptionError, match="rise strictly"):
        model.generate(**inputs, **NEW)


def test_keeping_nothing(setting):
    model, processor, _, inputs = setting
    with SpeechPrune(1.0)(model, processor):
        ids = model.generate(**inputs, **NEW)
    assert ids[0, inputs["input_ids"].shape[1] :].tolist() == expected_ids(setting, SpeechPrune(1.0))


def test_models_without_an_adapter():
    with pytest.raises(UnknownNameError), EveryOther()(torch.nn.Linear(2, 2), None):
        pass


def test_unexpanded_placeholders_are_refused():
    """Qwen2-Audio takes one placeholder a recording, too; then ids and embeddings do not match."""
    model, processor = tiny.tiny_qwen2_audio()
    inputs = dict(inputs_of(processor, checks.noise(2)))
    ids = inputs["input_ids"]
    first = (ids == model.config.audio_token_id).int().argmax()
    rest = (ids != model.config.audio_token_id) | (torch.arange(ids.shape[1]) == first)
    inputs |= {"input_ids": ids[rest][None], "attention_mask": inputs["attention_mask"][rest][None]}
    with EveryOther()(model, processor), pytest.raises(ModelError, match="one placeholder for every"):
        model.generate(**inputs, **NEW)


def transcription_of(processor, waveform):
    """Inputs of a transcript, with a question as its context."""
    return dict(processor.apply_transcription_request(waveform, prompt=QUESTION))


# Classes whose processor makes their inputs: a tiny model with its processor, and the inputs.
OTHERS = {
    "omni": (lambda: (tiny_omni.thinker(), tiny_omni.processor()), test_qwen2_5_omni.conversation),
    "qwen3-omni": (
        lambda: (tiny_qwen3_omni.thinker(), tiny_qwen3_omni.processor()),
        test_qwen3_omni_moe.conversation,
    ),
    "music-flamingo": (tiny.tiny_music_flamingo, inputs_of),
    "glm-asr": (tiny_glm.tiny_glm_asr, inputs_of),
    "qwen3-asr": (tiny_qwen3_asr.tiny_qwen3_asr, transcription_of),
    "fun-asr-nano": (tiny_fun.tiny_fun_asr_nano, transcription_of),
}


@pytest.mark.parametrize("case", [*OTHERS, "granite", "granite-lora", "granite-plus", "phi4", "voxtral"])
@pytest.mark.parametrize("pruner", [EveryOther(), EveryOther(5, "original"), EveryOther(1)], ids=["2", "5", "all"])
def test_the_other_models(case, pruner, tmp_path):
    waveform = checks.noise(12)
    model, processor, inputs = other(case, tmp_path, waveform)
    native = model.generate(**inputs, **NEW)
    before = state(model)
    with pruner(model, processor):
        ids = model.generate(**inputs, **NEW)
    assert state(model) == before
    assert ids[0, inputs["input_ids"].shape[1] :].tolist() == expected_ids(
        (model, processor, waveform, None), pruner
    )
    assert torch.equal(ids, native) == (pruner.step == 1)


def other(case, folder, waveform):
    """A tiny model of another class, its processor and that processor's inputs."""
    if case == "fun-asr-nano":
        pytest.importorskip("torchaudio", reason="needs torchaudio", exc_type=ImportError)
    if case in OTHERS:
        make, inputs = OTHERS[case]
        model, processor = make()
        return model, processor, inputs(processor, waveform)
    if case == "phi4":
        from models import test_phi4_multimodal, tiny_phi4

        model, processor = tiny_phi4.tiny_phi4()
        return model, processor, test_phi4_multimodal.native(load(model, processor), waveform)
    if case == "voxtral":
        pytest.importorskip("mistral_common")
        from models import test_voxtral, tiny_voxtral

        model, processor = tiny_voxtral.model(), tiny_voxtral.processor(folder)
        return model, processor, test_voxtral.conversation(load(model, processor), waveform)
    from models import test_granite_speech, tiny_granite

    model, processor = tiny_granite.tiny_granite(plus=case == "granite-plus")
    if case == "granite-lora":
        tiny_granite.add_lora(model, "q_proj", "v_proj", "linear")
    return model, processor, test_granite_speech.native(load(model, processor), waveform)


def test_a_model_inside_another_is_named():
    with (
        pytest.raises(ModelError, match=r"model\.thinker"),
        EveryOther()(tiny_omni.full(), tiny_omni.processor()),
    ):
        pass


def test_merged_speech_stands_where_it_was_merged_into(setting):
    model, processor, waveform, inputs = setting
    lm = load(model, processor)
    tokens, query = lm.encode(waveform), lm.query(QUESTION)
    pruner = FastLongSpeech(pruning_rate=0.5)
    reduced = pruner.reduce(tokens, query, lm)
    dropped = lm.prompt(tokens, query).keep(reduced.keep)
    expected = lm.logits(reduced.prompt(lm.prompt(tokens, query)))
    with pruner(model, processor), torch.no_grad():
        found = model(**inputs).logits[0]
    checks.assert_close(found, expected)
    assert (expected - lm.logits(dropped)).abs().max() > 1e-3  # the means are read, not the tokens in their places


def test_what_works_inside_the_llm_is_refused(setting):
    model, processor, _, _ = setting
    before = state(model)
    with pytest.raises(OptionError, match="FastV drops speech inside the LLM"), FastV(0.5)(model, processor):
        pass
    assert state(model) == before
