import pytest
import torch

from auricle.errors import OptionError
from auricle.speech_lm import QK, AudioTokens, SpeechPrompt, check_indices

AUDIO, BEFORE, AFTER = 5, 2, 3


def tokens(length: int = AUDIO) -> AudioTokens:
    starts = torch.arange(length) / 10
    return AudioTokens(torch.arange(length * 4.0).reshape(length, 4), torch.stack([starts, starts + 0.1], dim=1))


def prompt() -> SpeechPrompt:
    """Two tokens, the speech, and three tokens, of which the last but one is the question."""
    length = BEFORE + AUDIO + AFTER
    return SpeechPrompt(
        embeds=torch.arange(length * 4.0).reshape(1, length, 4),
        audio=torch.arange(BEFORE, BEFORE + AUDIO),
        query=torch.tensor([BEFORE + AUDIO + 1]),
        times=tokens().times,
    )


def test_select_takes_vectors_and_times_together():
    kept = tokens().select(torch.tensor([1, 4]))
    assert len(kept) == 2
    torch.testing.assert_close(kept.embeds, tokens().embeds[[1, 4]])
    torch.testing.assert_close(kept.times, tokens().times[[1, 4]])
    assert not AudioTokens(tokens().embeds, tokens().times, aligned=False).select(torch.tensor([0])).aligned


@pytest.mark.parametrize("keep", [[1, 3], [], [0, 1, 2, 3, 4], [4]])
def test_a_pruned_prompt_is_the_prompt_without_those_rows(keep):
    whole = prompt()
    pruned = whole.keep(torch.tensor(keep, dtype=torch.long))
    rows = [0, 1, *(BEFORE + index for index in keep), 7, 8, 9]
    torch.testing.assert_close(pruned.embeds, whole.embeds[:, rows])
    assert pruned.audio.tolist() == [BEFORE + i for i in range(len(keep))]
    assert pruned.query.tolist() == [rows.index(8)]
    torch.testing.assert_close(pruned.embeds[:, pruned.query], whole.embeds[:, whole.query])
    torch.testing.assert_close(pruned.times, whole.times[keep])
    assert pruned.position_ids is None


def test_original_positions_leave_gaps_also_when_pruned_twice():
    once = prompt().keep(torch.tensor([0, 2, 4]), positions="original")
    assert once.position_ids.tolist() == [[0, 1, 2, 4, 6, 7, 8, 9]]
    twice = once.keep(torch.tensor([1]), positions="original")
    assert twice.position_ids.tolist() == [[0, 1, 4, 7, 8, 9]]


def test_renumbering_closes_the_gaps_that_were_left_before():
    once = prompt().keep(torch.tensor([0, 2, 4]), positions="original")
    assert once.keep(torch.tensor([0, 1]), positions="renumber").position_ids is None


def test_a_prompt_is_not_changed_by_pruning():
    whole = prompt()
    whole.keep(torch.tensor([1]))
    torch.testing.assert_close(whole.embeds, prompt().embeds)
    assert len(whole.audio) == AUDIO


@pytest.mark.parametrize("keep", [[2, 1], [1, 1], [-1, 2], [0, 5], [7]])
def test_indices_must_rise_within_the_recording(keep):
    with pytest.raises(OptionError, match="rise strictly"):
        check_indices(torch.tensor(keep), AUDIO)
    with pytest.raises(OptionError):
        tokens().select(torch.tensor(keep))
    with pytest.raises(OptionError):
        prompt().keep(torch.tensor(keep))


def test_the_width_of_a_head():
    assert QK(torch.zeros(12, 8), torch.zeros(6, 8), heads=4, kv_heads=2).head_dim == 3
