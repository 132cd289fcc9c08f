"""Stage two: what is heard and read, what is learned of it, and the LoRA that comes out."""

import math
from dataclasses import replace
from random import Random

import pytest
import torch
from torch import Tensor
from torch.nn import functional
from transformers import LlamaForCausalLM

from auricle import audio
from auricle.models.mini import assembly
from auricle.models.mini.adapter import AuricleMini
from auricle.models.qwen2_audio import Qwen2Audio
from auricle.synthesis import SpokenSentence, Turn
from auricle.training import lessons as lessons_module
from auricle.training.instruct import adapt, answer_loss, choice_loss, hear, instruct, read
from auricle.training.lessons import Asked, Lessons, collate
from auricle.training.loop import Schedule
from auricle.training.recordings import save_shard, shard_path
from auricle.training.talks import Question, Talk
from auricle.transcribing import INSTRUCTION
from fakes import noise
from models import tiny, tiny_mini

QUESTIONS = (Question("Where?", "the harbor", ("a lamp",)), Question("Who?", "anna", ()))
ASKED = (Asked("Where?", "the harbor", ("a lamp",)), Asked("Who?", "anna"))
# peft asks transformers for an attribute by its old name.
peft_warns = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")


def speech_lm(name):
    if name == "mini":
        built = AuricleMini(tiny_mini.model(), tiny_mini.processor(), "auricle-mini")
    else:
        built = Qwen2Audio(*tiny.tiny_qwen2_audio())
    built.model.generation_config.eos_token_id = 2
    return built


@pytest.fixture(params=["qwen2_audio", "mini"])
def lm(request):
    return speech_lm(request.param)


@pytest.fixture
def shard(tmp_path):
    """A recording with questions, and sentences to transcribe."""
    said = (SpokenSentence("spk_1", "One.", 0.0, 1.0), SpokenSentence("spk_1", "Two.", 1.0, 2.0))
    save_shard(shard_path(tmp_path, 0), [(noise(2), said, QUESTIONS), (noise(3, 1), said, ())])
    return shard_path(tmp_path, 0)


def test_hearing(lm, shard):
    first, second = hear(lm, shard)
    assert first.asked == ASKED
    assert second.asked == (Asked(INSTRUCTION, "One. Two."),)
    for lesson, file in ((first, "00.flac"), (second, "01.flac")):
        expected = lm.encode(audio.load(shard / file))
        assert torch.equal(lesson.tokens.embeds, expected.embeds)
        assert torch.equal(lesson.tokens.times, expected.times)


def test_reading(lm):
    talk = Talk("lecture", (Turn("spk_1", ("The boat.", "A lamp.")), Turn("spk_2", ("The sea.",))), QUESTIONS)
    (found,) = read(lm, [talk])
    assert found.asked == ASKED
    assert torch.equal(found.tokens.embeds, lm.query("The boat. A lamp. The sea.").embeds)
    assert not found.paced


def test_reading_at_a_pace():
    """The same tokens, each in a frame of its own, about as fast as people speak."""
    lm = speech_lm("mini")
    text = "The boat, a lamp. The sea. " * 20
    talk = Talk("lecture", (Turn("spk_1", (text,)),), QUESTIONS)
    first, second = read(lm, [talk, talk], Random(0))
    for found in (first, second):
        assert found.paced
        assert torch.equal(found.tokens.embeds, lm.query(text).embeds)
        frames = found.tokens.times[:, 0] * lm.tokens_per_second
        torch.testing.assert_close(frames, frames.round(), atol=1e-3, rtol=0)
        assert frames.diff().min() > 0.9
        assert 8 < len(text) / found.tokens.times[-1, 1] < 20  # signs a second
    assert not torch.equal(first.tokens.times, second.tokens.times)


def batch_of(lm, lessons):
    data = Lessons(lm, lessons, 0, vary=False)
    return collate([data[i] for i in range(len(data))])


@torch.no_grad()
def test_the_loss_is_that_of_the_right_answers_and_of_the_choice(lm, shard, monkeypatch):
    monkeypatch.setattr(lessons_module, "LISTED", 0.0)
    lessons = hear(lm, shard)
    nats, choices = list[Tensor](), list[Tensor]()
    for lesson in lessons:
        for asked in lesson.asked:
            prompt = lm.prompt(lesson.tokens, lm.query(asked.question))
            scores = list[Tensor]()
            for answer in (asked.answer, *asked.wrong):
                ids = lm.answer_ids(answer[0].upper() + answer[1:])
                read = torch.cat([prompt.embeds, lm.embed(ids[:-1])[None]], 1)
                logits = lm.logits(replace(prompt, embeds=read))[-len(ids) :]
                each = functional.cross_entropy(logits, ids, reduction="none")
                scores.append(-each[:-1].mean())  # as `loglikelihood` scores it: without its end
                nats += [each] if answer == asked.answer else []
            if asked.wrong:
                choices.append(-torch.stack(scores).log_softmax(0)[0])
    assert len(choices) == 1
    expected = torch.cat(nats).mean() + torch.stack(choices).mean()
    torch.testing.assert_close(answer_loss(lm)(lm.model.get_decoder(), batch_of(lm, lessons)), expected)


def test_the_choice_is_by_mean_likelihood():
    # Question 1: the right answer has 1 nat a token, the wrong ones 3 and 2; question 2 has no wrong answers; in
    # the next row the wrong answer is likelier.
    nats = torch.tensor([0.5, 1.5, 3.0, 2.0, 2.0, 2.0, 9.0, 4.0, 1.0])
    rows = torch.tensor([0, 0, 0, 0, 0, 0, 0, 1, 1])
    questions = torch.tensor([1, 1, 1, 1, 1, 1, 2, 1, 1])
    answers = torch.tensor([1, 1, 2, 3, 3, 3, 1, 1, 2])
    expected = (math.log(1 + math.exp(-2) + math.exp(-1)) + math.log(1 + math.exp(3))) / 2
    assert float(choice_loss(nats, rows, questions, answers)) == pytest.approx(expected)
    alone = questions == 2
    assert choice_loss(*(each[alone] for each in (nats, rows, questions, answers))) == 0


@peft_warns
def test_a_new_lora_changes_nothing_and_alone_is_trained(lm, shard):
    before = answer_loss(lm)(lm.model.get_decoder(), batch_of(lm, hear(lm, shard)))
    decoder = adapt(lm, 2, 0)
    torch.testing.assert_close(answer_loss(lm)(decoder, batch_of(lm, hear(lm, shard))), before)
    trained = {name for name, weight in decoder.named_parameters() if weight.requires_grad}
    assert len(trained) == 2 * 7 * 2
    assert all(".lora_" in name for name in trained)
    assert not any(".lora_" not in name and p.requires_grad for name, p in lm.model.named_parameters())


@peft_warns
def test_the_lora_learns_and_can_be_merged(shard, tmp_path):
    lm = speech_lm("mini")
    base = LlamaForCausalLM(lm.model.config.text_config).eval()
    base.load_state_dict(lm.model.language_model.state_dict())
    lm.model.language_model.model.config.name_or_path = str(tmp_path / "secret")
    lessons = hear(lm, shard)
    with torch.no_grad():
        before = answer_loss(lm)(base.model, batch_of(lm, lessons))
    decoder = adapt(lm, 2, 0)
    schedule = Schedule(epochs=15.0, learning_rate=2e-2, batch_size=1)
    instruct(lm, decoder, lessons, lessons, tmp_path / "out", schedule)
    decoder.save_pretrained(str(tmp_path / "lora"))
    merged = assembly._with_lora(base, tmp_path / "lora")
    with torch.no_grad():
        after = answer_loss(lm)(merged.model, batch_of(lm, lessons))
        torch.testing.assert_close(after, answer_loss(lm)(decoder, batch_of(lm, lessons)), atol=1e-3, rtol=1e-3)
    assert after < 0.8 * before
    assert merged.state_dict().keys() == tiny_mini.model().language_model.state_dict().keys()
    # What goes into the package says nothing of the machine that trained it.
    texts = [file.read_text() for file in (tmp_path / "lora").glob("*") if file.suffix in (".json", ".md")]
    assert texts
    assert "secret" not in "".join(texts)


@peft_warns
def test_a_seed_makes_the_same_lora():
    made = [dict(adapt(speech_lm("mini"), 2, seed).named_parameters()) for seed in (0, 0, 1)]
    first, again, other = ({n: p for n, p in one.items() if "lora_A" in n} for one in made)
    assert all(torch.equal(weight, again[name]) for name, weight in first.items())
    assert not any(torch.equal(weight, other[name]) for name, weight in first.items())
