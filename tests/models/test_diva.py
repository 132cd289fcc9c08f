"""The adapter of DiVA against a small model with the attributes of its remote code; the weights were never here."""

import numpy as np
import pytest
import torch

from auricle.models.diva import DiVA
from auricle.questions import list_choices
from models import checks
from models.fake_diva import fake_diva

QUESTION = "What is decided in the meeting?"
CHOICES = ["The boat lies.", "A letter."]


@pytest.fixture(scope="module", params=["llm_decoder", "llama_decoder"])
def diva(request):
    return fake_diva(request.param)


@pytest.fixture(scope="module")
def lm(diva):
    return DiVA(diva)


@pytest.fixture(scope="module")
def waveform():
    return checks.noise(12)


def read(diva, embeds, **options):
    with torch.inference_mode():
        return diva.llm(inputs_embeds=embeds[None], **options).logits[0]


def test_equals_native(lm, diva, waveform):
    whole = diva.merge(diva.speech(waveform), QUESTION)
    prompt = lm.prompt(lm.encode(waveform), lm.query(QUESTION))
    checks.assert_close(prompt.embeds[0], whole, atol=1e-5)
    checks.assert_close(lm.logits(prompt), read(diva, whole))


def test_question_stands_before_the_speech(lm, diva, waveform):
    prompt = lm.prompt(lm.encode(waveform), lm.query(QUESTION), CHOICES)
    speech = diva.speech(waveform)
    checks.assert_close(prompt.embeds[0], diva.merge(speech, list_choices(QUESTION, CHOICES)), atol=1e-5)
    assert len(prompt.query) == len(lm.query(QUESTION).ids)
    assert prompt.query.max() < prompt.audio.min()
    pruned = prompt.keep(torch.tensor([3, 100, 447]))
    for place in prompt, pruned:
        asked = place.embeds[0, place.query]
        assert torch.equal(asked, lm.query(QUESTION).embeds)
    checks.assert_close(pruned.embeds[0, pruned.audio], speech[[3, 100, 447]], atol=1e-5)


def test_no_recording(lm, diva):
    prompt = lm.prompt(None, lm.query(QUESTION))
    checks.assert_close(prompt.embeds[0], diva.merge(torch.zeros(0, 32), QUESTION), atol=1e-5)


def test_pruned_equals_hand_made(lm, diva, waveform):
    whole = diva.merge(diva.speech(waveform), QUESTION)
    first = len(whole) - len(diva.final_header) - 448
    gone = set(range(first, first + 448)) - {first + place for place in range(0, 448, 5)}
    rows = torch.tensor([row for row in range(len(whole)) if row not in gone])
    full = lm.prompt(lm.encode(waveform), lm.query(QUESTION))
    keep = torch.arange(0, 448, 5)
    renumbered, original = read(diva, whole[rows]), read(diva, whole[rows], position_ids=rows[None])
    checks.assert_close(lm.logits(full.keep(keep)), renumbered)
    checks.assert_close(lm.logits(full.keep(keep, positions="original")), original)
    assert not torch.allclose(renumbered, original, atol=1e-3)


def test_seventy_seconds(lm, diva):
    waveform = checks.noise(70)
    tokens = lm.encode(waveform)
    expected = torch.cat([diva.speech(waveform[at : at + 480_000]) for at in (0, 480_000, 960_000)])
    checks.assert_close(tokens.embeds, expected, atol=1e-5)
    assert not tokens.aligned
    torch.testing.assert_close(tokens.times[:, 0], torch.arange(3 * 448) * (30 / 448), atol=1e-4, rtol=0)
    torch.testing.assert_close(tokens.times[:, 1], torch.arange(1, 3 * 448 + 1) * (30 / 448), atol=1e-4, rtol=0)
    checks.assert_close(
        lm.logits(lm.prompt(tokens, lm.query(QUESTION))), read(diva, diva.merge(expected, QUESTION))
    )


@pytest.mark.parametrize("samples", [1, 64, 800])
def test_any_tail(lm, diva, samples):
    tail = checks.noise(1)[:samples]
    tokens = lm.encode(np.concatenate([checks.noise(30), tail]))
    checks.assert_close(tokens.embeds[448:], diva.speech(tail), atol=1e-5)
    assert tokens.times[448].tolist() == pytest.approx([30, 30 + 30 / 448])


def test_one_window_at_a_time(lm, diva):
    checks.check_one_window_at_a_time(lm, diva.whisper_encoder)


def test_generate(lm, diva, waveform):
    answer = diva.generate(waveform, QUESTION, end=-1, max_new_tokens=8)
    prompt = lm.prompt(lm.encode(waveform), lm.query(QUESTION))
    assert lm.generate(prompt, max_new_tokens=8) == answer.strip()
    assert len(set(answer)) > 1


def test_answer_ends_with_the_end_token(waveform):
    diva = fake_diva()
    lm = DiVA(diva)
    prompt = lm.prompt(lm.encode(waveform), lm.query(QUESTION))
    ids = diva.llm.generate(inputs_embeds=prompt.embeds, do_sample=False, max_new_tokens=8)[0].tolist()
    end = ids[next(i for i in range(2, 8) if ids[i] not in ids[:i])]
    diva.llm.generation_config.eos_token_id = end
    answer = lm.generate(prompt, max_new_tokens=8)
    assert answer == diva.generate(waveform, QUESTION, end, max_new_tokens=8).strip()
    assert len(answer) < len(diva.tokenizer.decode(ids))


def test_loglikelihood(lm, diva, waveform):
    whole = diva.merge(diva.speech(waveform), QUESTION)
    expected = []
    for continuation in ("a harbor", "the"):
        ids = diva.tokenizer(continuation, return_tensors="pt")["input_ids"][0]
        longer = torch.cat([whole, diva.llm.get_input_embeddings()(ids)])
        logs = read(diva, longer).log_softmax(-1)[-len(ids) - 1 : -1]
        expected.append(logs.gather(1, ids[:, None]).sum())
    prompt = lm.prompt(lm.encode(waveform), lm.query(QUESTION))
    checks.assert_close(lm.loglikelihood(prompt, ["a harbor", "the"]), torch.stack(expected), atol=1e-3)


def test_first_layer(lm, diva):
    attention = diva.llm.model.layers[0].self_attn
    qk = lm.first_layer_qk()
    assert torch.equal(qk.w_q, attention.q_proj.weight)
    assert torch.equal(qk.w_k, attention.k_proj.weight)
    assert (qk.heads, qk.kv_heads, qk.head_dim) == (4, 2, 8)


def test_joined_queries():
    diva = fake_diva(join=4)
    tokens = DiVA(diva).encode(checks.noise(40))
    assert len(tokens) == 2 * 112
    assert tokens.times[112, 0] == 30
    checks.assert_close(tokens.embeds[:112], diva.speech(checks.noise(40)[:480_000]), atol=1e-5)


def test_half_precision():
    diva = fake_diva()
    diva.llm.bfloat16()  # the encoder and the connector may stay in float32
    lm = DiVA(diva, name="DiVA")
    tokens = lm.encode(checks.noise(2))
    assert lm.name == "DiVA"
    assert tokens.embeds.dtype == torch.bfloat16
    assert lm.logits(lm.prompt(tokens, lm.query(QUESTION))).isfinite().all()


def test_nothing_is_trained(diva, lm):
    assert not any(weight.requires_grad for weight in diva.parameters())
    assert not any(module.training for module in diva.modules())
