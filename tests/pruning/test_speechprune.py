"""How the two phases go together, and what the options do. Counts are held by `test_contract.py`."""

import dataclasses

import pytest
import torch

from auricle.errors import ModelError
from auricle.pruning.attention import binarized_attention, select_attended
from auricle.pruning.recall import evidence_recall, kept_share
from auricle.pruning.similarity import relevance, select_similar
from auricle.pruning.speechprune import SpeechPrune
from auricle.speech_lm import AudioTokens
from fakes import FakeSpeechLM, random_tokens

QUESTION = "When does the ferry leave?"
CHOICES = ["at noon", "at dawn"]


@pytest.fixture
def lm() -> FakeSpeechLM:
    return FakeSpeechLM()


def test_the_second_phase_chooses_from_the_first(lm: FakeSpeechLM) -> None:
    tokens, query = random_tokens(1125), lm.query(QUESTION)
    similar = select_similar(relevance(tokens.embeds, query.embeds), 12.5, 375)
    attended = select_attended(binarized_attention(tokens.embeds[similar], lm.qk), 150)
    assert torch.equal(SpeechPrune(0.6).keep(tokens, query, lm), similar[attended])


def test_at_rate_0_the_first_phase_is_all(lm: FakeSpeechLM) -> None:
    tokens, query = random_tokens(1125), lm.query(QUESTION)
    similar = select_similar(relevance(tokens.embeds, query.embeds), 12.5, 375)
    assert torch.equal(SpeechPrune(0.0).keep(tokens, query, lm), similar)


def test_up_to_30_s_only_the_second_phase_prunes(lm: FakeSpeechLM) -> None:
    tokens, query = random_tokens(370), lm.query(QUESTION)
    assert torch.equal(
        SpeechPrune(0.5).keep(tokens, query, lm),
        select_attended(binarized_attention(tokens.embeds, lm.qk), 185),
    )


def test_each_phase_alone(lm: FakeSpeechLM) -> None:
    tokens, query = random_tokens(1125), lm.query(QUESTION)
    r = relevance(tokens.embeds, query.embeds)
    attended = select_attended(binarized_attention(tokens.embeds, lm.qk), 150)
    assert torch.equal(SpeechPrune(0.6, "similarity").keep(tokens, query, lm), select_similar(r, 12.5, 150))
    assert torch.equal(SpeechPrune(0.6, "attention").keep(tokens, query, lm), attended)


def test_choices_are_compared_only_if_asked_for(lm: FakeSpeechLM) -> None:
    tokens = random_tokens(1125)
    query, bare = lm.query(QUESTION, CHOICES), lm.query(QUESTION)
    with_choices = SpeechPrune(0.6, query="question+choices")
    assert torch.equal(SpeechPrune(0.6).keep(tokens, query, lm), SpeechPrune(0.6).keep(tokens, bare, lm))
    joined = lm.query("When does the ferry leave?\nat noon\nat dawn")
    assert torch.equal(with_choices.keep(tokens, query, lm), SpeechPrune(0.6).keep(tokens, joined, lm))
    assert not torch.equal(with_choices.keep(tokens, query, lm), SpeechPrune(0.6).keep(tokens, bare, lm))
    assert torch.equal(with_choices.keep(tokens, bare, lm), SpeechPrune(0.6).keep(tokens, bare, lm))


def test_what_points_at_the_question_is_kept(lm: FakeSpeechLM) -> None:
    tokens, query = random_tokens(1125), lm.query(QUESTION)
    embeds = tokens.embeds.clone()
    embeds[700:750] = query.embeds.mean(0) + 0.1 * embeds[700:750]  # 4 s
    spoken, evidence = AudioTokens(embeds, tokens.times), [(56.0, 60.0)]
    kept = SpeechPrune(0.6, "similarity").keep(spoken, query, lm)
    assert evidence_recall(kept, tokens.times, evidence) == 1.0
    assert kept_share(kept, tokens.times) == 150 / 1125
    spread = SpeechPrune(0.6, "similarity", frame_pool="mean").keep(spoken, query, lm)
    assert 150 / 1125 < evidence_recall(spread, tokens.times, evidence) < 0.5


def test_the_preset_pins_the_papers_choices() -> None:
    assert SpeechPrune.paper(0.2) == SpeechPrune(0.2, "both", "sum", "renumber", "question")


@pytest.mark.parametrize("phase", ["both", "similarity", "attention"])
def test_overflowed_embeddings_are_refused(lm: FakeSpeechLM, phase: str) -> None:
    tokens = random_tokens(1125)
    tokens.embeds[3, 3] = float("nan")
    with pytest.raises(ModelError, match="NaN"):
        dataclasses.replace(SpeechPrune(), phase=phase).keep(tokens, lm.query(QUESTION), lm)
