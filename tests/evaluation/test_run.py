from dataclasses import dataclass, replace
from functools import partial

import pytest
import torch
from typing_extensions import override

from auricle.asking import encode
from auricle.audio import SAMPLE_RATE
from auricle.benchmarks.base import Benchmark, Sample
from auricle.errors import AudioError, DataError, OptionError
from auricle.evaluation import run as running
from auricle.evaluation.log import Log, Run, read
from auricle.evaluation.methods import Method, baselines, methods, summarizations
from auricle.evaluation.run import Plan, as_tokens, evaluate, limited
from auricle.evaluation.scoring import score
from auricle.models.mini.adapter import AuricleMini
from auricle.pruning.speechprune import SpeechPrune
from auricle.summarization.sst import new_sst
from auricle.summarization.summarizer import Summarization, Summarizer
from fakes import FakeSpeechLM, noise
from models import tiny_mini
from tiny_llama import TinyLlama

RUN = Run("fake", "noises", "", "loglikelihood")


@dataclass(frozen=True)
class Noises(Benchmark):
    count: int = 3
    seconds: float = 40.0
    broken: int = -1
    transcript: str = "it is green now"

    @property
    @override
    def name(self):
        return "noises"

    @override
    def samples(self):
        for i in range(self.count):
            yield Sample(
                id=f"s{i}",
                load=lambda i=i: self._load(i),
                question=f"Which color is shed {i}?",
                choices=("red", "green", "blue", "grey"),
                correct=i % 4,
                evidence=((10.0, 14.0),),
                transcript=self.transcript,
                groups={"kind": "noise"},
            )

    def _load(self, i):
        if i == self.broken:
            raise AudioError("The recording is damaged.")
        return noise(self.seconds, i)


def asked(folder, lm=None, plan=None, benchmark=None, **options):
    plan = plan or Plan((*baselines(), *methods(["speechprune", "random-pieces"], [0.4, 0.8])))
    with Log(folder, replace(RUN, protocol=plan.protocol), options.get("part", 0)) as log:
        evaluate(lm or FakeSpeechLM(), benchmark or Noises(), plan, log, **options)
    return list(read(folder))


def test_every_method_is_asked_about_every_sample(tmp_path):
    records = asked(tmp_path)
    assert len(records) == 3 * 8
    by_method = {each.method: each for each in records if each.sample == "s1"}
    assert by_method["full"].kept_tokens == by_method["full"].audio_tokens == 500
    assert by_method["first30"].kept_tokens == 375
    assert by_method["speechprune 0.4"].kept_tokens == by_method["random-pieces 0.4"].kept_tokens == 225
    assert by_method["speechprune 0.8"].pruning_rate == 0.8
    assert by_method["full"].recall == 1.0
    assert by_method["full"].position == pytest.approx(0.3)
    assert by_method["text-free"].prior == ()
    assert by_method["full"].prior == by_method["text-free"].loglikelihoods
    assert by_method["transcript"].audio_tokens == 0
    assert set(by_method["full"].seconds) == {"encode", "prune", "answer"}
    assert by_method["full"].groups == {"kind": "noise"}


def test_methods_that_summarize(tmp_path):
    """Alone and after pruning; the scores are those of asking the memory."""
    lm = AuricleMini(tiny_mini.model(), tiny_mini.processor(), "auricle-mini")
    lm.model.generation_config.eos_token_id = 2
    maker = Summarizer(lm, new_sst(lm), Summarization(silence="read"))
    pruned = methods(["uniform"], [0.8])
    plan = Plan((*pruned, *summarizations([4], pruned)))
    records = {each.method: each for each in asked(tmp_path, lm, plan, Noises(1), summarizer=maker)}
    whole, both = records["speech-xl 4"], records["uniform 0.8 + speech-xl 4"]
    assert (whole.audio_tokens, whole.kept_tokens) == (500, 125)
    assert (both.audio_tokens, both.kept_tokens) == (500, 19)
    assert records["uniform 0.8"].kept_tokens == 75
    (sample,) = Noises(1).samples()
    query = lm.query(sample.question, sample.choices)
    memory = maker.summarize(encode(lm, noise(40), SAMPLE_RATE).tokens, options=maker.at(4))
    prompt = maker.prompt(memory, query)
    assert whole.loglikelihoods == pytest.approx(lm.loglikelihood(prompt, sample.choices).tolist(), rel=1e-3)
    assert whole.recall is None
    generated = Plan(summarizations([4]), "generate")
    (said,) = asked(tmp_path / "b", lm, generated, Noises(1), summarizer=maker)
    assert said.answer == lm.generate(maker.prompt(memory, query, sample.choices), running.ANSWER_TOKENS)
    with pytest.raises(OptionError, match="no summarizer was given"):
        asked(tmp_path / "c", lm, plan, Noises(1))


def test_intervals_are_cut_as_the_method_says(tmp_path):
    lm = AuricleMini(tiny_mini.model(), tiny_mini.processor(), "auricle-mini")
    maker = Summarizer(lm, new_sst(lm), Summarization(interval=100, silence="read"))
    plan = Plan(summarizations([8], boundaries=("fixed", "dynamic")))
    records = {each.method: each for each in asked(tmp_path, lm, plan, Noises(1), summarizer=maker)}
    tokens = encode(lm, noise(40), SAMPLE_RATE).tokens
    for boundaries in ("fixed", "dynamic"):
        memory = maker.summarize(tokens, options=replace(maker.at(8), boundaries=boundaries))
        assert records[f"speech-xl 8 {boundaries}"].kept_tokens == len(memory)
    assert records["speech-xl 8 fixed"].loglikelihoods != records["speech-xl 8 dynamic"].loglikelihoods


def test_what_is_dropped_inside_the_llm_is_never_summarized():
    inside = methods(["speechprune", "fastv"], [0.5])
    with pytest.raises(OptionError, match="inside the LLM"):
        summarizations([8], inside)
    assert summarizations([], inside) == ()


def test_the_scores_are_those_of_auricle_ask(tmp_path):
    from auricle.asking import answer

    lm = FakeSpeechLM()
    records = {(each.sample, each.method): each for each in asked(tmp_path, lm)}
    for sample in Noises().samples():
        recording = encode(lm, sample.load(), SAMPLE_RATE)
        given = answer(lm, recording, lm.query(sample.question, sample.choices), SpeechPrune(0.4))
        found = records[sample.id, "speechprune 0.4"]
        scores = torch.tensor(found.loglikelihoods) - torch.tensor(found.prior)
        torch.testing.assert_close(scores, torch.tensor(list(given.scores.values())))
        assert "ABCD"[score(found).choice] == given.choice


def test_what_is_merged_or_dropped_inside_or_left_where_it_was_is_read_so(tmp_path):
    from auricle.asking import answer

    lm = TinyLlama()
    names = ("a-tome", "fastv:layer=1", "speechprune:positions=original", "speechprune")
    plan = Plan(methods(names, [0.8]))
    records = {each.method: each for each in asked(tmp_path, lm, plan, Noises(1))}
    (sample,) = Noises(1).samples()
    recording, query = encode(lm, sample.load(), SAMPLE_RATE), lm.query(sample.question, sample.choices)
    for method in plan.methods:
        given = answer(lm, recording, query, method.pruner, prior=False)
        found = records[method.name]
        assert found.loglikelihoods == pytest.approx(list(given.scores.values()), abs=1e-3)
        assert found.kept_tokens == given.tokens.kept == 75
    assert len({each.loglikelihoods for each in records.values()}) == 4


def test_each_recording_is_encoded_once_and_only_if_it_is_needed(tmp_path, monkeypatch):
    calls = []
    monkeypatch.setattr(running, "encode", lambda *given: calls.append(1) or encode(*given))
    asked(tmp_path / "a")
    assert len(calls) == 3
    asked(tmp_path / "b", plan=Plan(baselines()[:2]))
    assert len(calls) == 3
    asked(tmp_path / "a")  # all is in the log
    assert len(calls) == 3


def test_questions_about_one_recording_share_its_encoding(tmp_path, monkeypatch):
    calls = []
    monkeypatch.setattr(running, "encode", lambda *given: calls.append(1) or encode(*given))

    @dataclass(frozen=True)
    class Interview(Benchmark):
        @property
        @override
        def name(self):
            return "interview"

        @override
        def samples(self):
            for i, recording in enumerate(("a", "a", "b", "", "")):
                yield Sample(f"s{i}", lambda: noise(2.0), f"Which is {i}?", ("red", "green"), 0, recording)

    records = asked(tmp_path, benchmark=Interview(), plan=Plan(baselines()[2:]))
    assert len(calls) == 4
    assert [each.recording for each in records[::2]] == ["a", "a", "b", "s3", "s4"]


def test_a_killed_run_goes_on_where_it_was(tmp_path):
    class Twice(FakeSpeechLM):
        left = 2

        def encode(self, *given):
            self.left -= 1
            if self.left < 0:
                raise KeyboardInterrupt
            return super().encode(*given)

    with pytest.raises(KeyboardInterrupt):
        asked(tmp_path, Twice())
    assert {each.sample for each in read(tmp_path)} == {"s0", "s1"}
    records = asked(tmp_path)
    assert [each.sample for each in records[16:]] == ["s2"] * 8
    assert len({each.key for each in records}) == len(records) == 24


def test_more_methods_can_be_asked_later(tmp_path):
    asked(tmp_path, plan=Plan(methods(["uniform"], [0.5])))
    records = asked(tmp_path, plan=Plan(methods(["uniform", "random-crop"], [0.5])))
    assert [each.method for each in records] == ["uniform 0.5"] * 3 + ["random-crop 0.5"] * 3


def test_generated_answers_are_asked_in_every_order(tmp_path):
    plan = Plan(methods(["uniform"], [0.5]), protocol="generate", permute=4)
    records = asked(tmp_path, FakeSpeechLM(reply="C"), plan)
    assert len(records) == 12
    assert {each.answer for each in records} == {"C"}
    assert sum(score(each).correct for each in records) == 3  # C is right in one order of four
    assert all(each.loglikelihoods == () for each in records)


def test_the_prompt_lists_the_choices_in_that_order(tmp_path):
    seen = []

    class Listening(FakeSpeechLM):
        def prompt(self, tokens, query, choices=None):
            seen.append(choices)
            return super().prompt(tokens, query, choices)

    records = asked(tmp_path, Listening(), Plan(baselines()[:1], "generate", permute=2))
    assert seen == [[each.choices[i] for i in each.order] for each in records]


def test_processes_share_the_samples(tmp_path):
    assert {each.sample for each in asked(tmp_path, part=0, parts=2)} == {"s0", "s2"}
    asked(tmp_path, part=1, parts=2)
    assert sorted(each.sample for each in read(tmp_path)) == sorted(["s0", "s1", "s2"] * 8)
    assert len(list(tmp_path.glob("log-*.jsonl"))) == 2


def test_what_cannot_be_answered_is_recorded_with_its_reason(tmp_path):
    records = asked(tmp_path, FakeSpeechLM(context=450), benchmark=Noises(broken=1))
    errors = {(each.sample, each.method): each.error for each in records if each.error}
    assert "450" in errors["s0", "full"]
    assert errors["s1", "first30"] == "The recording is damaged."
    assert ("s0", "speechprune 0.4") not in errors
    assert ("s1", "text-free") not in errors


def test_limit_and_what_makes_no_sense(tmp_path):
    assert {each.sample for each in asked(tmp_path, plan=Plan(baselines(), limit=2))} == {"s0", "s1"}
    with pytest.raises(OptionError, match="limit is 0"):
        Plan(baselines(), limit=0)
    with pytest.raises(OptionError, match="permute is -1"):
        Plan(baselines(), permute=-1)
    with pytest.raises(OptionError, match="neither prunes nor summarizes"):
        asked(tmp_path / "b", plan=Plan((Method("odd"),)))
    records = asked(tmp_path / "c", benchmark=Noises(transcript=""))
    assert {each.method for each in records if each.error} == {"transcript"}


def test_what_failed_is_tried_again(tmp_path):
    asked(tmp_path, benchmark=Noises(broken=1))
    records = asked(tmp_path)
    assert not any(each.error for each in records)
    assert len(records) == 24


def test_evidence_outside_the_recording_is_no_recall(tmp_path):
    records = asked(tmp_path, benchmark=Noises(seconds=5.0), plan=Plan(baselines()[2:]))
    assert [each.recall for each in records] == [None] * 6
    assert not any(each.error for each in records)


def test_the_limit_is_of_the_set_not_of_a_process(tmp_path):
    for part in (0, 1):
        asked(tmp_path, part=part, parts=2, plan=Plan(baselines(), limit=2))
    assert {each.sample for each in read(tmp_path)} == {"s0", "s1"}


def test_progress_counts_what_was_done_before(tmp_path):
    asked(tmp_path, plan=Plan(baselines()))
    done = []
    asked(tmp_path, plan=Plan(baselines()), on_sample=lambda: done.append(1))
    assert len(done) == 3


@dataclass(frozen=True)
class Odd(Benchmark):
    ids: tuple[str, ...] = ("a", "a")
    choices: tuple[str, ...] = ("red", "green")

    @property
    @override
    def name(self):
        return "odd"

    @override
    def samples(self):
        for each in self.ids:
            yield Sample(each, lambda: noise(2.0), "Which?", self.choices, 0)


def test_samples_that_cannot_be_asked_are_named(tmp_path):
    with pytest.raises(DataError, match="Two samples have the id 'a'"):
        asked(tmp_path / "a", benchmark=Odd(), plan=Plan(baselines()[:1]))
    records = asked(tmp_path / "b", benchmark=Odd(("a", "b"), ("red", "red")), plan=Plan(baselines()[:1]))
    assert [each.sample for each in records] == ["a", "b"]
    assert all("Two choices are the same" in each.error for each in records)


def test_methods_without_a_rate_stand_once():
    found = methods(["first30", "speechprune", "random-pieces"], [0.2, 0.4], seed=7)
    assert [each.name for each in found] == [
        "first30",
        "speechprune 0.2",
        "speechprune 0.4",
        "random-pieces 0.2",
        "random-pieces 0.4",
    ]
    assert found[3].pruner.seed == 7


def test_a_transcript_stands_in_the_place_of_the_speech():
    lm = FakeSpeechLM()
    tokens = as_tokens(lm, "it is green")
    torch.testing.assert_close(tokens.embeds, lm.table[lm.tokenize("it is green")])
    assert not tokens.aligned
    assert len(tokens.times) == len(tokens)


@dataclass(frozen=True)
class Open(Benchmark):
    """Two tasks in turn: one with choices, one open."""

    count: int = 3
    max_new_tokens: int = 7

    @property
    @override
    def name(self):
        return "open"

    @override
    def samples(self):
        for i in range(self.count):
            load = partial(noise, 2.0, i)
            yield Sample(f"a{i}", load, "Which color?", ("red", "green"), i % 2, task="a")
            yield Sample(
                f"b{i}", load, "Say it.", reference="it is green", task="b", max_new_tokens=self.max_new_tokens
            )


def test_open_questions_are_generated_once_whatever_the_protocol(tmp_path):
    lm = FakeSpeechLM(reply="it was green")
    for protocol in ("loglikelihood", "generate"):
        plan = Plan(methods(["full"], [0.0]), protocol, 2 if protocol == "generate" else 0)
        records = asked(tmp_path / protocol, lm, plan, Open(1))
        (said,) = [each for each in records if each.task == "b"]
        assert (said.answer, said.reference, said.question) == ("it was green", "it is green", "Say it.")
        assert (said.order, said.choices, said.correct, said.loglikelihoods) == ((), (), -1, ())
        others = [each for each in records if each.task == "a"]
        assert len(others) == (2 if protocol == "generate" else 1)
        assert all(each.question == "" and bool(each.loglikelihoods) == (protocol != "generate") for each in others)


def test_where_open_answers_end(tmp_path, monkeypatch):
    lengths = []
    generate = FakeSpeechLM.generate

    def listen(self, prompt, max_new_tokens=64, **rest):
        lengths.append(max_new_tokens)
        return generate(self, prompt, max_new_tokens, **rest)

    monkeypatch.setattr(FakeSpeechLM, "generate", listen)
    for most, short, expected in ((None, 7, 7), (3, 7, 7), (None, 90, 90), (3, 90, 3), (100, 90, 100)):
        plan = Plan(methods(["full"], [0.0]), max_new_tokens=most)
        asked(tmp_path / f"{most}-{short}", plan=plan, benchmark=Open(1, short))
        assert lengths.pop() == expected
    with pytest.raises(OptionError, match="max_new_tokens is 0"):
        Plan((), max_new_tokens=0)


def test_the_limit_is_of_each_task(tmp_path):
    plan = Plan(methods(["full"], [0.0]), limit=2)
    assert sorted({each.sample for each in asked(tmp_path, plan=plan, benchmark=Open(4))}) == [
        "a0",
        "a1",
        "b0",
        "b1",
    ]


def test_a_benchmark_without_tasks_is_not_read_beyond_its_limit():
    def samples():
        yield from Noises(2).samples()
        raise AssertionError("one too many")

    assert len(list(limited(samples(), 1))) == 1
