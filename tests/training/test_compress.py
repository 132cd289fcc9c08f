"""Stage three: the loss is that of asking the memory, SSTs learn, and the curriculum is kept to."""

from dataclasses import replace

import pytest
import torch

from auricle.models.mini.adapter import AuricleMini
from auricle.summarization.sst import load_sst, new_sst, save_sst
from auricle.summarization.summarizer import Summarization, Summarizer
from auricle.training import compress as compress_module
from auricle.training import lessons as lessons_module
from auricle.training.compress import Compressing, Compressions, collate, compress
from auricle.training.lessons import Asked, Lesson, Lessons
from auricle.training.loop import Schedule
from fakes import random_tokens
from models import tiny_mini
from summarizing import drawn_sst

ASKED = (Asked("Where?", "the harbor", ("a boat", "a lamp")), Asked("Who?", "anna"))
OPTIONS = Summarization(1, 8)


@pytest.fixture
def lm(monkeypatch):
    monkeypatch.setattr(lessons_module, "LISTED", 0.0)
    built = AuricleMini(tiny_mini.model(), tiny_mini.processor(), "auricle-mini")
    built.model.generation_config.eos_token_id = 2
    return built


def lessons(lm, count=4):
    made = [Lesson(random_tokens(11 + 6 * i, dim=32, seed=i), ASKED) for i in range(count)]
    return Lessons(lm, made, 0, vary=False), made


@torch.no_grad()
def test_the_loss_is_that_of_asking_the_memory(lm):
    """For one ratio a recording, which the summarizer can do."""
    sst, (data, made) = drawn_sst(lm), lessons(lm)
    each = [collate([Compressions(data, (4,), 8, 0)[i]]) for i in range(4)]
    found = torch.stack([Compressing(lm, sst, OPTIONS)(batch) for batch in each]).mean()
    summarizer, losses = Summarizer(lm, sst, replace(OPTIONS, compression_ratio=4)), []
    for lesson in made:
        memory, right, chosen = summarizer.summarize(lesson.tokens), [], torch.zeros(())
        for asked in lesson.asked:
            prompt, scores = summarizer.prompt(memory, lm.query(asked.question)), []
            for said in (asked.answer, *asked.wrong):
                ids = lm.answer_ids(said[0].upper() + said[1:])
                read = torch.cat([prompt.embeds, lm.embed(ids[:-1])[None]], 1)
                logits = lm.logits(replace(prompt, embeds=read))[-len(ids) :]
                nats = torch.nn.functional.cross_entropy(logits, ids, reduction="none")
                scores.append(-nats[:-1].mean())
                right += [nats] if said == asked.answer else []
            chosen = chosen - torch.stack(scores).log_softmax(0)[0]
        losses.append(torch.cat(right).mean() + chosen)  # one of the questions has choices
    torch.testing.assert_close(found, torch.stack(losses).mean(), atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize("placement", ["recall", "interleave"])
def test_a_padded_batch_gives_the_states_of_each_lesson_alone(lm, placement, monkeypatch):
    sst, (data, _) = drawn_sst(lm), lessons(lm)
    data._lessons[2].tokens.embeds[:] = 0  # nothing is said in it
    found = []
    monkeypatch.setattr(compress_module, "said_loss", lambda lm, states, *_: found.append(states) or states.sum())
    items = [Compressions(data, (2, 4), 8, 0)[i] for i in (2, 0, 3, 1)]
    asked = [int((item.example.questions > 0).sum()) for item in items]
    model = Compressing(lm, sst, replace(OPTIONS, placement=placement))
    with torch.no_grad():
        for batch in (items, *([item] for item in items)):
            model(collate(batch))
    together, *alone = found
    assert together.shape[1] == max(asked)
    for states, single, length in zip(together, alone, asked, strict=True):
        torch.testing.assert_close(states[:length], single[0], atol=2e-4, rtol=2e-4)


def test_ratios_are_drawn_for_each_interval_and_epoch(lm):
    data, _ = lessons(lm)
    drawn = Compressions(data, (2, 4, 8), 2, 0)
    first = [drawn[i].ratios for i in range(4)]
    assert first == [drawn[i].ratios for i in range(4)]
    assert {ratio for each in first for ratio in each} == {2, 4, 8}
    assert all(len(each) >= -(-len(drawn[i].example.speech) // 2) for i, each in enumerate(first))
    drawn.epoch = 1
    assert first != [drawn[i].ratios for i in range(4)]
    single = Compressions(data, (2, 4, 8), 2, 0, mixed=False)
    assert all(len(set(single[i].ratios)) == 1 for i in range(4))
    assert list(drawn.lengths) == list(data.lengths)


@pytest.mark.parametrize("rank", [None, 2])
def test_ssts_learn_phase_by_phase_and_nothing_else_does(lm, tmp_path, rank, monkeypatch):
    data, _ = lessons(lm)
    before = {name: weight.clone() for name, weight in lm.model.state_dict().items()}
    sst, phases, losses = new_sst(lm, rank), [], []
    real = compress_module.fit

    def watched(model, loss, train, kept, *others):
        phases.append((train._ratios, others[-1].epochs))
        with torch.no_grad():
            losses.append(float(model(collate([kept[i] for i in range(4)]))))
        real(model, loss, train, kept, *others)
        with torch.no_grad():
            losses.append(float(model(collate([kept[i] for i in range(4)]))))

    monkeypatch.setattr(compress_module, "fit", watched)
    schedule = Schedule(epochs=8.0, learning_rate=2e-2, batch_size=1)
    compress(lm, sst, data, data, tmp_path, OPTIONS, ((2,), (2, 4)), schedule)
    assert phases == [((2,), 4.0), ((2, 4), 4.0)]
    assert losses[1] < losses[0]
    assert losses[3] < losses[2]
    assert all(torch.equal(weight, before[name]) for name, weight in lm.model.state_dict().items())


@pytest.mark.parametrize("rank", [None, 2])
def test_ssts_are_saved_and_loaded(lm, tmp_path, rank):
    sst = drawn_sst(lm, rank).bfloat16().float()
    save_sst(sst, tmp_path, OPTIONS)
    found, trained = load_sst(lm, tmp_path)
    assert Summarization(**trained) == OPTIONS
    assert found.rank == rank
    assert all(torch.equal(weight, found.state_dict()[name]) for name, weight in sst.state_dict().items())
