import dataclasses

import numpy as np
import pytest
import torch

from auricle.asking import encode
from auricle.audio import SAMPLE_RATE
from auricle.cost import Decoder
from auricle.errors import OptionError
from auricle.profiling import METHODS, count_flops, peak_growth, profile
from auricle.pruning.fastv import FastV
from auricle.pruning.full import Full
from auricle.pruning.speechprune import SpeechPrune
from auricle.summarization.sst import new_sst
from auricle.summarization.summarizer import Summarizer
from tiny_llama import TinyLlama

QUESTION = "Where do they meet?"
CPU = torch.device("cpu")
QWEN2_AUDIO = Decoder(layers=32, dim=4096, heads=32, kv_heads=32, head_dim=128, hidden=11008, vocab=156_032)
# Pruning rate, tokens, TFLOPs, total memory and activations in 10^9 bytes, as printed in SpeechPrune's Table 1.
TABLE_1 = [
    (0.0, 857, 12.2, 13.40, 0.19),
    (0.2, 707, 10.06, 13.32, 0.15),
    (0.4, 557, 7.93, 13.24, 0.11),
    (0.6, 407, 5.79, 13.17, 0.07),
    (0.8, 257, 3.66, 13.09, 0.04),
]


def recording_of(lm, seconds: float = 60):
    return encode(lm, np.random.default_rng(0).uniform(-0.5, 0.5, round(seconds * SAMPLE_RATE)), SAMPLE_RATE)


@pytest.fixture(scope="module")
def lm():
    return TinyLlama()


@pytest.fixture(scope="module")
def rows(lm):
    return profile(lm, recording_of(lm), lm.query(QUESTION), repeats=1)


@pytest.mark.parametrize(("rate", "tokens", "tflops", "memory", "activations"), TABLE_1)
def test_the_formulas_give_the_papers_table_1(rate, tokens, tflops, memory, activations):
    assert tokens == 107 + round(750 * (1 - rate))
    flops = QWEN2_AUDIO.flops(tokens, logits=tokens)
    assert (flops.projections + flops.head) / 1e12 == pytest.approx(tflops, abs=0.006)
    weights_and_cache = 2 * QWEN2_AUDIO.layer_weights + QWEN2_AUDIO.kv(tokens, 2)
    assert weights_and_cache / 1e9 == pytest.approx(memory, abs=0.006)
    stored = QWEN2_AUDIO.activations(tokens, 2, stored_attention=True)
    assert stored / 1e9 == pytest.approx(activations, abs=0.006)


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize("shape", [{}, {"num_key_value_heads": 4}, {"num_key_value_heads": 1, "head_dim": 16}])
def test_the_formula_agrees_with_the_counter(attention, shape):
    lm = TinyLlama(**shape)
    lm.model.set_attn_implementation(attention)
    decoder = Decoder.of(lm.model.config)
    for seconds in (1, 20):
        prompt = lm.prompt(recording_of(lm, seconds).tokens, lm.query(QUESTION))
        counted = count_flops(lambda prompt=prompt: lm.prefill(prompt))
        assert counted == pytest.approx(decoder.flops(len(prompt)).total, rel=0.01)


def test_all_logits_cost_a_row_each(lm):
    prompt = lm.prompt(recording_of(lm, 5).tokens, lm.query(QUESTION))
    formula = Decoder.of(lm.model.config).flops(len(prompt), logits=len(prompt))
    assert count_flops(lambda: lm.logits(prompt)) == pytest.approx(formula.total, rel=0.01)


def test_the_formula_of_the_weights_is_their_number(lm):
    layers = lm.model.model.layers
    matrices = sum(p.numel() for p in layers.parameters() if p.ndim == 2)
    assert Decoder.of(lm.model.config).layer_weights == matrices


def test_the_formula_of_the_cache_is_its_size(lm):
    prompt = lm.prompt(recording_of(lm, 5).tokens, lm.query(QUESTION))
    cache = lm.prefill(prompt).cache
    held = sum(layer.keys.nbytes + layer.values.nbytes for layer in cache.layers)
    assert Decoder.of(lm.model.config).kv(len(prompt), 4) == held


def test_peak_growth_is_the_most_that_was_held_at_once():
    def run():
        first = torch.ones(1000, 1000)
        second = first + 1  # both are held now
        del first
        return second.sum()

    growth = peak_growth(run, CPU)
    assert 8_000_000 <= growth < 8_100_000
    assert peak_growth(lambda: None, CPU) == 0
    assert peak_growth(run, torch.device("meta")) is None


def test_what_existed_before_does_not_count():
    large = torch.ones(1_000_000)
    assert peak_growth(large.sum, CPU) < 1000


def test_the_rows_are_the_papers(rows):
    assert [(row.method, row.pruning_rate) for row in rows] == [
        ("full", None),
        ("first30", None),
        ("speechprune", 0.2),
        ("speechprune", 0.4),
        ("speechprune", 0.6),
        ("speechprune", 0.8),
    ]
    assert [row.speech_tokens for row in rows] == [750, 375, 300, 225, 150, 75]
    assert {row.total_tokens - row.speech_tokens for row in rows} == {rows[0].total_tokens - 750}


def test_fewer_tokens_cost_less(rows):
    for figure in (
        lambda row: row.prefill.tflops,
        lambda row: row.tflops_formula,
        lambda row: row.prefill.peak_memory,
        lambda row: row.memory_formula.total,
    ):
        figures = [figure(row) for row in rows]
        assert figures == sorted(figures, reverse=True)
        assert len(set(figures)) == len(figures)


def test_measured_stands_beside_computed(lm, rows):
    for row in rows:
        assert row.prefill.tflops == pytest.approx(row.tflops_formula, rel=0.01)
        assert row.memory_formula.weights == lm.model.get_memory_footprint()
        # The peak holds the weights and the cache, and activations of the order of the formula.
        beside = row.prefill.peak_memory - row.memory_formula.weights - row.memory_formula.kv
        assert 0.2 * row.memory_formula.activations < beside < 3 * row.memory_formula.activations


def test_overhead_is_a_share_of_the_unpruned_prefill(rows):
    for row in rows:
        assert row.overhead_seconds > 0
        assert row.overhead_share == pytest.approx(row.overhead_seconds / rows[0].prefill.seconds)


def test_times_are_medians_of_rounds_that_take_turns(lm, monkeypatch):
    order = []
    # Four jobs a round; the one to warm up is slow, and of the others the middle one counts.
    clock = iter(np.cumsum([gap for seconds in (100.0, 1.0, 2.0, 6.0) for gap in (0.0, seconds) * 4]).tolist())
    monkeypatch.setattr("auricle.profiling.now", lambda: next(clock))
    prefill = TinyLlama.prefill
    monkeypatch.setattr(
        TinyLlama, "prefill", lambda self, prompt: order.append(len(prompt.audio)) or prefill(self, prompt)
    )
    rows = profile(lm, recording_of(lm), lm.query(QUESTION), (Full(), SpeechPrune(0.8)), repeats=3)
    # Counted and sized once each, then a round to warm up and three that count; Full is the unpruned prompt itself.
    assert order == [750, 750, 75, 75] + [750, 75] * 4
    assert [row.prefill.seconds for row in rows] == [2.0, 2.0]
    assert [row.overhead_seconds for row in rows] == [2.0, 2.0]


def test_without_full_the_share_is_of_the_unpruned_prefill_all_the_same(lm):
    (row,) = profile(lm, recording_of(lm), lm.query(QUESTION), (SpeechPrune(0.8),), repeats=1)
    assert row.overhead_share > 0


def test_a_summary_costs_what_its_pairs_and_the_question_do(lm):
    recording, summarizer = recording_of(lm), Summarizer(lm, new_sst(lm))
    tokens = len(recording.tokens)
    full, row = profile(
        lm, recording, lm.query(QUESTION), (Full(), summarizer.at(8)), summarizer=summarizer, repeats=1
    )
    assert (row.method, row.pruning_rate, row.compression_ratio) == ("speech-xl", None, 8)
    assert row.speech_tokens == -(-tokens // 8)
    assert row.total_tokens == full.total_tokens - tokens + row.speech_tokens
    assert row.memory_formula.kv / full.memory_formula.kv == pytest.approx(row.total_tokens / full.total_tokens)
    assert row.prefill.tflops == pytest.approx(row.tflops_formula, rel=1e-3)
    assert row.prefill.tflops < full.prefill.tflops * (full.total_tokens - tokens) / full.total_tokens
    assert row.overhead_seconds > 0
    with pytest.raises(OptionError, match="give the summarizer"):
        profile(lm, recording, lm.query(QUESTION), (summarizer.at(8),))


def test_what_is_dropped_inside_the_llm_costs_its_first_layers_whole(lm):
    layers = lm.model.config.num_hidden_layers
    methods = (Full(), FastV(0.8, layer=1), SpeechPrune(0.8))
    full, inside, before = profile(lm, recording_of(lm), lm.query(QUESTION), methods, repeats=1)
    assert (inside.speech_tokens, inside.total_tokens) == (before.speech_tokens, before.total_tokens)
    assert before.prefill.tflops < inside.prefill.tflops < full.prefill.tflops
    assert inside.prefill.tflops == pytest.approx(inside.tflops_formula, rel=1e-3)
    expected = (full.memory_formula.kv + (layers - 1) * before.memory_formula.kv) / layers
    assert inside.memory_formula.kv == expected


def test_a_prompt_beyond_the_context_has_a_formula_but_no_measurement():
    small = TinyLlama(max_position_embeddings=512)
    rows = profile(small, recording_of(small), small.query(QUESTION), repeats=1)
    assert rows[0].prefill is None
    assert rows[0].tflops_formula > rows[1].tflops_formula
    assert all(row.prefill is not None and row.overhead_share is None for row in rows[1:])


def test_steps_are_reported(lm):
    seen = []
    profile(
        lm, recording_of(lm), lm.query(QUESTION), METHODS[:3], repeats=2, on_step=lambda *step: seen.append(step)
    )
    assert seen == [(i, 6) for i in range(1, 7)]


def test_rows_are_plain_values(rows):
    assert dataclasses.asdict(rows[0])["memory_formula"].keys() == {"weights", "kv", "activations"}


def test_no_repeats_are_refused(lm):
    with pytest.raises(OptionError, match="repeats is 0"):
        profile(lm, recording_of(lm, 1), lm.query(QUESTION), repeats=0)
