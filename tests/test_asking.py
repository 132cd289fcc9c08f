import dataclasses
import json
from dataclasses import dataclass, replace

import numpy as np
import pytest
import soundfile
import torch
from typing_extensions import override

from auricle.asking import Recording, answer, ask, encode
from auricle.audio import SAMPLE_RATE
from auricle.errors import AudioError, ContextLengthError, ModelError, OptionError, QueryError
from auricle.pruning.base import Pruner
from auricle.pruning.speechprune import SpeechPrune
from auricle.speech_lm import AudioTokens, SpeechPrompt
from auricle.transcribing import INSTRUCTION, transcribe, windows_of
from tiny_llama import TinyLlama

CHOICES = ("a harbor", "the mill", "at home")


@dataclass(frozen=True)
class These(Pruner):
    """Keeps what it is told."""

    indices: tuple[int, ...]
    positions: str = "renumber"

    @override
    def keep(self, tokens, query, lm):
        return torch.tensor(self.indices, dtype=torch.long)


@pytest.fixture(scope="module")
def lm():
    return TinyLlama()


def noise(seconds: float, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(-0.5, 0.5, round(seconds * SAMPLE_RATE)).astype(np.float32)


@pytest.fixture(scope="module")
def recording(lm):
    return encode(lm, noise(40), SAMPLE_RATE)


def test_a_file_and_its_samples_give_the_same_answer(lm, tmp_path):
    path = tmp_path / "noise.wav"
    soundfile.write(path, noise(40), SAMPLE_RATE, subtype="FLOAT")
    by_file = ask(lm, path, "Where?", max_new_tokens=8)
    by_array = ask(lm, noise(40), "Where?", sampling_rate=SAMPLE_RATE, max_new_tokens=8)
    untimed = dataclasses.replace(by_file, seconds=by_array.seconds)
    assert untimed == by_array
    assert by_file.pruner == "speechprune"
    assert by_file.pruning_rate == SpeechPrune().pruning_rate


def test_a_question_without_choices_is_answered_by_generating(lm, recording):
    query = lm.query("Where?")
    given = answer(lm, recording, query, These((1, 2, 3)), max_new_tokens=12)
    prompt = lm.prompt(recording.tokens, query).keep(torch.tensor([1, 2, 3]))
    assert given.answer == lm.generate(prompt, 12) != ""
    assert given.choice is None
    assert given.scores is None


def test_a_choice_is_scored_by_likelihood_less_its_prior(lm, recording):
    query = lm.query("Where?", CHOICES)
    keep = torch.tensor([5, 6, 400])
    given = answer(lm, recording, query, These((5, 6, 400)))
    heard = lm.loglikelihood(lm.prompt(recording.tokens, query).keep(keep), CHOICES)
    unheard = lm.loglikelihood(lm.prompt(None, query), CHOICES)
    torch.testing.assert_close(torch.tensor(list(given.scores.values())), heard - unheard)
    best = int((heard - unheard).argmax())
    assert (given.choice, given.answer) == ("ABC"[best], CHOICES[best])
    assert list(given.scores) == ["A", "B", "C"]

    without = answer(lm, recording, query, These((5, 6, 400)), prior=False)
    torch.testing.assert_close(torch.tensor(list(without.scores.values())), heard)


def test_nothing_kept_is_the_prior_itself(lm, recording):
    given = answer(lm, recording, lm.query("Where?", CHOICES), These(()))
    assert list(given.scores.values()) == pytest.approx([0, 0, 0], abs=1e-4)
    assert given.kept_spans == ()
    assert given.tokens.kept == 0


def test_the_prompt_does_not_list_the_choices(lm, recording):
    alone = answer(lm, recording, lm.query("Where?"), These((1,)), max_new_tokens=1)
    among = answer(lm, recording, lm.query("Where?", CHOICES), These((1,)))
    assert alone.tokens == among.tokens


def test_positions_are_those_that_the_method_wants(lm, recording):
    query = lm.query("Where?", CHOICES)
    close = answer(lm, recording, query, These((0, 200, 499)))
    apart = answer(lm, recording, query, These((0, 200, 499), positions="original"))
    assert close.scores != apart.scores
    assert close.tokens == apart.tokens


def test_tokens_and_spans_say_what_was_kept(lm, recording):
    assert recording.duration == 40
    assert len(recording.tokens) == 500
    given = answer(lm, recording, lm.query("Where?"), These((0, 1, 2, 25, 499)), max_new_tokens=1)
    prompt = lm.prompt(None, lm.query("Where?"))
    assert (given.tokens.audio, given.tokens.kept, given.tokens.text) == (500, 5, len(prompt))
    assert given.kept_spans == ((0.0, 0.24), (2.0, 2.08), (39.92, 40.0))


def test_spans_end_with_the_recording(lm):
    recording = encode(lm, noise(1.01), SAMPLE_RATE)  # its 13th token begins before the end and reaches beyond
    assert len(recording.tokens) == 13
    given = answer(lm, recording, lm.query("Where?"), These(tuple(range(13))), max_new_tokens=1)
    assert given.kept_spans == ((0.0, 1.01),)


@pytest.mark.parametrize("choices", [(), CHOICES])
def test_prefill_and_decode_are_timed_apart(lm, recording, monkeypatch, choices):
    ticks = iter(range(100))
    events = []
    monkeypatch.setattr("auricle.asking.now", lambda: events.append("now") or float(next(ticks)))
    forward = lm.model.forward

    def seen(*args, **kwargs):
        out = forward(*args, **kwargs)
        events.append("forward")
        return out

    monkeypatch.setattr(lm.model, "forward", seen)
    given = answer(lm, recording, lm.query("Where?", choices), These((1, 2)), max_new_tokens=3)
    # pruning between two ticks, then the watch starts, the prompt is read, and the rest follows
    assert events[:5] == ["now", "now", "now", "forward", "now"]
    assert events.count("forward") > 2
    assert events[-1] == "now"
    assert (given.seconds.prune, given.seconds.prefill, given.seconds.decode) == (1.0, 1.0, 1.0)
    assert given.seconds.encode == recording.encode_seconds


def test_json_is_one_object_with_the_promised_keys(lm, recording):
    given = answer(lm, recording, lm.query("Wo? Größe", CHOICES), These((0, 1)))
    found = json.loads(given.to_json())
    assert list(found) == [
        "answer",
        "choice",
        "scores",
        "model",
        "pruner",
        "pruning_rate",
        "compression_ratio",
        "tokens",
        "kept_spans",
        "seconds",
    ]
    assert list(found["tokens"]) == ["audio", "kept", "text"]
    assert list(found["seconds"]) == ["encode", "prune", "prefill", "decode"]
    assert found["kept_spans"] == [[0.0, 0.16]]
    assert found["pruner"] == "These"
    assert found["pruning_rate"] is None
    assert "\n" not in given.to_json()


def test_a_bad_question_fails_before_the_recording_is_read(lm):
    with pytest.raises(QueryError):
        ask(lm, "no such file.wav", " ")
    with pytest.raises(QueryError):
        ask(lm, "no such file.wav", "Where?", choices=["one"])
    with pytest.raises(AudioError):
        ask(lm, "no such file.wav", "Where?")


def test_no_new_tokens_are_refused(lm, recording):
    with pytest.raises(OptionError, match="max_new_tokens is 0"):
        answer(lm, recording, lm.query("Where?"), max_new_tokens=0)


def test_a_prompt_beyond_the_context_is_refused(recording):
    small = TinyLlama(max_position_embeddings=256)
    for choices in ((), CHOICES):
        with pytest.raises(ContextLengthError, match="at most 256"):
            answer(small, recording, small.query("Where?", choices), These(tuple(range(500))))


def test_likelihoods_that_are_not_finite_are_refused(lm, recording, monkeypatch):
    monkeypatch.setattr(TinyLlama, "loglikelihood", lambda *args, **kwargs: torch.tensor([1.0, torch.nan, 0.0]))
    with pytest.raises(ModelError, match="not finite"):
        answer(lm, recording, lm.query("Where?", CHOICES), These((1,)))


def test_encoding_reports_every_window(lm):
    seen = []
    encode(lm, noise(70), SAMPLE_RATE, on_window=lambda done, total: seen.append((done, total)))
    assert seen == [(1, 3), (2, 3), (3, 3)]


def test_a_transcript_goes_window_by_window(lm, monkeypatch):
    prompts: list[SpeechPrompt] = []

    def generate(self, prompt, max_new_tokens=64, on_prefill=None, **decoding):
        prompts.append(prompt)
        return ["first", "", "third"][len(prompts) - 1]

    monkeypatch.setattr(TinyLlama, "generate", generate)
    seen = []
    transcript = transcribe(
        lm, noise(70.5), sampling_rate=SAMPLE_RATE, on_window=lambda done, total: seen.append((done, total))
    )
    assert [(s.start, s.end, s.text) for s in transcript.segments] == [
        (0.0, 30.0, "first"),
        (30.0, 60.0, ""),
        (60.0, 70.5, "third"),
    ]
    assert transcript.text == "first third"
    assert [len(prompt.audio) for prompt in prompts] == [375, 375, 132]
    assert [float(prompt.times[0, 0]) for prompt in prompts] == [0.0, 30.0, 60.0]
    assert [len(prompt.query) for prompt in prompts] == [len(INSTRUCTION)] * 3  # a byte a token
    assert seen == [(1, 3), (2, 3), (3, 3)]
    assert json.loads(transcript.to_json())["segments"][2] == {"start": 60.0, "end": 70.5, "text": "third"}


def tokens_with(silences, count=1000):
    embeds = torch.ones(count, 4)
    for first, last in silences:
        embeds[first:last] = 0
    starts = torch.arange(count, dtype=torch.float64) / 12.5
    return AudioTokens(embeds, torch.stack([starts, starts + 0.08], 1).float())


@pytest.mark.parametrize(
    ("silences", "windows"),
    [
        ([], [(0, 375), (375, 750), (750, 1000)]),
        ([(0, 1000)], [(0, 281), (281, 562), (562, 843), (843, 1000)]),  # each in the middle of its second half
        ([(200, 210), (300, 304)], [(0, 205), (205, 580), (580, 955), (955, 1000)]),  # the longest
        ([(200, 204), (300, 304)], [(0, 302), (302, 677), (677, 1000)]),  # the last one of equals
        ([(100, 180), (374, 400)], [(0, 375), (375, 750), (750, 1000)]),  # only the second half
        ([(990, 1000)], [(0, 375), (375, 750), (750, 1000)]),  # what has 30 s is not cut
    ],
)
def test_windows_of_a_transcript_end_in_pauses(silences, windows):
    assert windows_of(tokens_with(silences)) == windows


def test_nothing_has_no_windows():
    assert windows_of(tokens_with([], 0)) == []


def test_silence_alone_is_not_asked_for_words(lm, monkeypatch):
    asked = []
    monkeypatch.setattr(TinyLlama, "generate", lambda self, prompt, *_, **__: asked.append(prompt) or "said")
    tokens = lm.encode(noise(50), SAMPLE_RATE)
    silent = replace(tokens, embeds=tokens.embeds * (tokens.times[:, :1] >= 30))
    transcript = transcribe(lm, Recording(silent, 50.0, 0.0))
    assert len(asked) == len([segment for segment in transcript.segments if segment.text])
    assert transcript.segments[0].text == ""
    assert transcript.segments[-1].text == "said"
    assert [segment.end for segment in transcript.segments[:-1]] == [s.start for s in transcript.segments[1:]]
    assert transcript.segments[-1].end == 50.0


def test_what_is_encoded_is_transcribed_without_encoding_it_again(lm, recording, monkeypatch):
    monkeypatch.setattr(TinyLlama, "_encode_window", None)
    assert len(transcribe(lm, recording, max_new_tokens=2).segments) == 2
