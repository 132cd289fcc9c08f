"""Speech that is dropped inside the LLM, against layers that are run by hand."""

import pytest
import torch
from torch import Tensor

from auricle.errors import ModelError, OptionError
from auricle.models import likelihood
from auricle.speech_lm import SpeechLM, SpeechPrompt
from fakes import FakeSpeechLM, noise
from models.checks import assert_close, check_layers
from tiny_llama import TinyLlama

QUESTION = "When does the ferry leave?"


def asked(lm: TinyLlama, seconds: float = 2.0) -> SpeechPrompt:
    return lm.prompt(lm.encode(noise(seconds)), lm.query(QUESTION))


@torch.inference_mode()
def by_hand(lm: TinyLlama, embeds: Tensor, layer: int, stays: Tensor) -> Tensor:
    """Logits of the tokens that stay: the layers called one by one, with the states cut in between."""
    decoder = lm.model.model
    states, at = embeds, torch.arange(embeds.shape[1])[None]
    for number, each in enumerate(decoder.layers):
        if number == layer:
            states, at = states[:, stays], at[:, stays]
        states = each(states, position_embeddings=decoder.rotary_emb(states, at))
    return lm.model.lm_head(decoder.norm(states))[0]


@pytest.mark.parametrize("layer", [1, 2])
def test_what_is_dropped_inside_is_read_by_the_first_layers_alone(layer: int) -> None:
    lm = TinyLlama()
    prompt = asked(lm)
    keep = torch.tensor([0, 3, 4, 11, 24])
    cut = prompt.keep_from(layer, keep)
    expected = by_hand(lm, prompt.embeds, layer, cut.later.stays)
    assert len(expected) == len(prompt) - len(prompt.audio) + len(keep)
    assert_close(lm.logits(cut), expected)
    assert (lm.logits(prompt.keep(keep))[-1] - expected[-1]).abs().max() > 1e-2  # dropped before: not the same


@pytest.mark.parametrize("layer", [1, 2])
def test_a_likelihood_is_that_of_the_whole_text_read_at_once(layer: int) -> None:
    lm = TinyLlama()
    cut = asked(lm).keep_from(layer, torch.tensor([2, 5, 6]))
    texts = ["at noon", "x"]
    expected = []
    for text in texts:
        ids = lm.embed(torch.tensor(lm._tokenize(text)))
        longer = torch.cat([cut.embeds, ids[None]], 1)
        stays = torch.cat([cut.later.stays, torch.ones(len(ids), dtype=torch.bool)])
        logs = by_hand(lm, longer, layer, stays).log_softmax(-1)[-len(ids) - 1 : -1]
        expected.append(logs.gather(1, torch.tensor(lm._tokenize(text))[:, None]).sum())
    assert_close(lm.loglikelihood(cut, texts), torch.stack(expected), atol=1e-3)


def test_an_answer_is_generated_from_what_is_left() -> None:
    lm = TinyLlama()
    cut = asked(lm).keep_from(1, torch.tensor([2, 5, 6]))
    embeds, stays, ids = cut.embeds, cut.later.stays, []
    for _ in range(6):
        ids.append(int(by_hand(lm, embeds, 1, stays)[-1].argmax()))
        embeds = torch.cat([embeds, lm.embed(torch.tensor(ids[-1:]))[None]], 1)
        stays = torch.cat([stays, torch.ones(1, dtype=torch.bool)])
    assert lm.generate(cut, max_new_tokens=6) == lm.processor.decode(ids, skip_special_tokens=True).strip()
    assert lm.generate(asked(lm), max_new_tokens=6) != lm.generate(cut, max_new_tokens=6)


def test_the_model_is_as_before_afterwards() -> None:
    lm = TinyLlama()
    prompt = asked(lm)
    before, attention = lm.logits(prompt), lm.model.config._attn_implementation
    lm.logits(prompt.keep_from(1, torch.tensor([0])))
    lm.inside(prompt, 2)
    with pytest.raises(OptionError, match="expected 1 to 2"):
        lm.logits(prompt.keep_from(3, torch.tensor([0])))
    assert torch.equal(lm.logits(prompt), before)
    assert lm.model.config._attn_implementation == attention
    assert not any(layer._forward_pre_hooks for layer in lm.model.model.layers)


def test_looking_inside() -> None:
    lm = TinyLlama()
    prompt = asked(lm)
    check_layers(lm, QUESTION, noise(2.0))
    eager = TinyLlama(attn_implementation="eager")
    with torch.inference_mode():
        out = eager.model.model(inputs_embeds=prompt.embeds, output_hidden_states=True, output_attentions=True)
    for layers in (1, 2):
        seen = lm.inside(prompt, layers)
        assert_close(seen.states, out.hidden_states[layers][0])
        assert_close(seen.attention, out.attentions[layers - 1][0, :, -1], atol=1e-5)


@pytest.mark.parametrize("layers", [0, 3, -1])
def test_there_are_no_such_layers(layers: int) -> None:
    lm = TinyLlama()
    with pytest.raises(OptionError, match=f"layer is {layers}; expected 1 to 2"):
        lm.inside(asked(lm), layers)


def test_other_speech_llms_say_that_they_cannot() -> None:
    lm = FakeSpeechLM()
    prompt = lm.prompt(None, lm.query(QUESTION))
    with pytest.raises(ModelError, match="'fake' cannot read"):
        SpeechLM.inside(lm, prompt, 1)


@pytest.mark.parametrize("together", [1, 150, 4096])
def test_likelihoods_are_the_same_however_many_are_read_together(monkeypatch, together: int) -> None:
    lm = TinyLlama()
    prompt = asked(lm)
    texts = ["at noon", "x", "when the tide turns", "at dawn"]
    alone = torch.cat([lm.loglikelihood(prompt, [text]) for text in texts])
    batches = []
    monkeypatch.setattr(likelihood, "TOGETHER", together)
    hook = lm.model.model.register_forward_pre_hook(
        lambda _module, _args, named: batches.append(len(named["inputs_embeds"])), with_kwargs=True
    )
    found = lm.loglikelihood(prompt, texts)
    hook.remove()
    assert_close(found, alone)
    assert batches == {1: [1, 1, 1, 1], 150: [1, 2, 2], 4096: [1, 4]}[together]
