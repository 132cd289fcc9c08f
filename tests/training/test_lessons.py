"""Lessons: every answer of the tree reads as its prompt asked alone, and what is drawn is drawn again the same."""

from collections import Counter
from dataclasses import replace

import pytest
import torch

from auricle.errors import TrainingError
from auricle.models.mini.adapter import AuricleMini
from auricle.models.qwen2_audio import Qwen2Audio
from auricle.questions import letter
from auricle.speech_lm import AudioTokens
from auricle.training import lessons as lessons_module
from auricle.training.lessons import (
    IGNORED,
    LISTED,
    Asked,
    Form,
    Lesson,
    Lessons,
    collate,
    example,
    inputs,
    join,
    load_lessons,
    save_lessons,
    visible,
    with_silence,
    without_silence,
)
from fakes import random_tokens
from models import tiny, tiny_mini

END = 2
FORMS = [
    Form("Where does the boat lie?", ("In the harbor", "The sea", "Anna's meeting")),
    Form("What is decided?", ("B", "A"), ("A boat", "The meeting", "The harbor")),
    Form("Who?", ("D",)),
]
ASKED = (Asked("Where?", "the harbor", ("a boat", "a lamp", "the sea")), Asked("Who?", "anna"))


@pytest.fixture(scope="module", params=["qwen2_audio", "mini"])
def lm(request):
    if request.param == "mini":
        built = AuricleMini(tiny_mini.model(), tiny_mini.processor(), "auricle-mini")
    else:
        built = Qwen2Audio(*tiny.tiny_qwen2_audio())
    built.model.generation_config.eos_token_id = END
    return built


def tokens(count, seed=0):
    return random_tokens(count, dim=32, seed=seed)


def right_answers(made):
    """The labels of the right answer to every question."""
    return [
        made.labels[(made.questions == number) & (made.answers == 1)]
        for number in range(1, int(made.questions.max()) + 1)
    ]


@torch.no_grad()
def test_every_answer_reads_as_its_prompt_asked_alone(lm):
    """Also where the batch's other example is longer, so that there is padding."""
    heard = [tokens(7), tokens(30, seed=1)]
    made = [example(lm, heard[0], FORMS), example(lm, heard[1], FORMS[::-1])]
    batch = collate(made)
    labels, questions, answers = (batch[name] for name in ("labels", "questions", "answers"))
    assert len(made[0].ids) < len(made[1].ids) == labels.shape[1]
    states = lm.model.get_decoder()(**inputs(lm, batch), use_cache=False).last_hidden_state
    found = lm.model.get_output_embeddings()(states)
    assert found.isfinite().all()
    for row, speech, forms in zip(range(2), heard, (FORMS, FORMS[::-1]), strict=True):
        for question, form in enumerate(forms, 1):
            prompt = lm.prompt(speech, lm.query(form.question), form.listed or None)
            for answer, said in enumerate(form.answers, 1):
                ids = lm.answer_ids(said)
                alone = lm.logits(replace(prompt, embeds=torch.cat([prompt.embeds, lm.embed(ids[:-1])[None]], 1)))
                own = (questions[row] == question) & (answers[row] == answer)
                path = (questions[row] == 0) | ((questions[row] == question) & (answers[row] == 0)) | own
                torch.testing.assert_close(found[row, path], alone, atol=1e-4, rtol=1e-4)
                # What is learned is what follows in the prompt asked alone: the answer, then its end.
                assert torch.equal(labels[row, own], ids)
    assert torch.equal(labels == IGNORED, answers == 0)


def test_labels_are_the_answer_and_its_end(lm):
    made = example(lm, tokens(5), FORMS)
    for ids, form in zip(right_answers(made), FORMS, strict=True):
        assert ids[-1] == END
        assert lm.processor.tokenizer.decode(ids[:-1]) == form.answers[0]


def test_without_speech_nothing_is_shared(lm):
    made = example(lm, tokens(0), FORMS[:2])
    assert (made.questions > 0).all()
    assert len(right_answers(made)) == 2


def test_questions_stand_behind_the_speech(lm, monkeypatch):
    real = lm.template

    def swapped(question, choices=None):
        template = real(question, choices)
        return replace(template, ids=template.ids + len(question))

    monkeypatch.setattr(lm, "template", swapped)
    with pytest.raises(TrainingError, match="prompts differ before their speech"):
        example(lm, tokens(5), FORMS)


def test_visible():
    # Recording, two questions of which the first has two answers, padding.
    questions = torch.tensor([[0, 0, 1, 1, 1, 1, 1, 2, 2, -1], [1, 1, 1, 2, 2, 2, 2, -1, -1, -1]])
    answers = torch.tensor([[0, 0, 0, 1, 1, 2, 2, 0, 1, 0], [0, 0, 1, 0, 1, 2, 3, 0, 0, 0]])
    found = visible(questions, answers)
    for row in range(2):
        tree = list(zip(questions[row].tolist(), answers[row].tolist(), strict=True))
        for i, (question, answer) in enumerate(tree):
            for j, read in enumerate(tree):
                leads = read[0] == 0 or read in ((question, 0), (question, answer))
                expected = i == j if question == -1 else j <= i and leads
                assert found[row, i, j] == expected, (row, i, j)


@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_without_silence(share):
    embeds = torch.randn(400, 4, generator=torch.Generator().manual_seed(0))
    embeds[:, 0] = 0  # a zero is not silence
    embeds[100:300] = 0
    kept = without_silence(embeds, share, 5)
    assert torch.equal(kept, kept.unique())
    assert {*range(100), *range(300, 400)} <= set(kept.tolist())
    assert (len(kept) - 200) / 200 == pytest.approx(share, abs=0.12)
    assert torch.equal(kept, without_silence(embeds, share, 5))
    assert torch.equal(kept, without_silence(embeds, share, 6)) == (share in (0, 1))


def test_join():
    parts = [tokens(5), tokens(0), tokens(3, seed=1), tokens(2, seed=2)]
    joined = join(parts)
    assert torch.equal(joined.embeds, torch.cat([part.embeds for part in parts]))
    torch.testing.assert_close(joined.times, tokens(10).times)
    assert joined.aligned
    assert not join([tokens(2), replace(tokens(2), aligned=False)]).aligned


def lessons(count=40):
    """Half of each recording is silence."""
    made = []
    for seed in range(count):
        speech = tokens(12 + seed, seed)
        speech.embeds[::2] = 0
        made.append(Lesson(speech, ASKED))
    return made


def paced(lm, frames, seed=0):
    """A token in each of the frames."""
    starts = torch.tensor(frames) / lm.tokens_per_second
    times = torch.stack([starts, starts + 1 / lm.tokens_per_second], 1)
    return replace(tokens(len(frames), seed), times=times)


def drawn(data, epoch):
    data.epoch = epoch
    return [(made.ids, made.speech, made.labels) for made in (data[i] for i in range(len(data)))]


def same(one, other):
    return all(
        a.shape == b.shape and torch.equal(a, b)
        for x, y in zip(one, other, strict=True)
        for a, b in zip(x, y, strict=True)
    )


def test_an_epoch_is_drawn_again_the_same(lm):
    data = Lessons(lm, lessons(), 3)
    assert len(data) == 40
    first, second = drawn(data, 0), drawn(data, 1)
    assert not same(first, second)
    assert same(first, drawn(data, 0))
    assert same(second, drawn(Lessons(lm, lessons(), 3), 1))
    assert not same(first, drawn(Lessons(lm, lessons(), 4), 0))


def test_validation_is_not_varied(lm):
    given = lessons()
    data = Lessons(lm, given, 3, vary=False)
    first = drawn(data, 0)
    assert same(first, drawn(data, 1))
    for lesson, (_, speech, _) in zip(given, first, strict=True):
        assert torch.equal(speech, lesson.tokens.embeds)
    assert list(data.lengths) == [len(lesson.tokens) for lesson in given]


def test_lengths_are_those_of_the_epoch(lm):
    """Of joined recordings and of what is read of their silence."""
    paced_ones = [Lesson(paced(lm, [2, 3, 9 + i % 20, 30], i), ASKED, paced=True) for i in range(40)]
    data = Lessons(lm, lessons() + paced_ones, 3)
    for data.epoch in range(2):
        lengths = data.lengths
        found = [len(data[i].speech) for i in range(80)]
        assert max(abs(one - other) for one, other in zip(lengths, found, strict=True)) <= 12
        assert sum(lengths) == pytest.approx(sum(found), rel=0.02)
        assert min(found[40:]) == 4  # without silence
        assert sum(length == 31 for length in found[40:]) >= 8


def test_with_silence(lm):
    given = paced(lm, [2, 3, 7])
    filled = with_silence(given, lm.tokens_per_second)
    assert torch.equal(filled.embeds[[2, 3, 7]], given.embeds)
    assert filled.embeds[[0, 1, 4, 5, 6]].eq(0).all()
    assert len(filled) == 8
    torch.testing.assert_close(filled.times[[2, 3, 7]], given.times)
    assert len(with_silence(paced(lm, []), 12.5)) == 0


def test_lessons_are_joined_and_thinned(lm):
    """All that is said stays, and silence goes from most of the lessons."""
    given = lessons()
    data = Lessons(lm, given, 3)
    kinds = Counter()
    for lesson, made in zip(given, (data[i] for i in range(len(data))), strict=True):
        read = made.speech
        spoken, own = read[(read != 0).any(1)], lesson.tokens.embeds[1::2]
        starts = [i for i in range(len(spoken)) if torch.equal(spoken[i : i + len(own)], own)]
        assert len(starts) == 1
        kinds["joined"] += len(spoken) > len(own)
        kinds["thinned"] += len(read) < 2 * len(spoken) - 3
    assert 4 <= kinds["joined"] <= 22
    assert 12 <= kinds["thinned"] <= 36


def said(lm, made, question):
    """A question's answers, the right one first."""
    ours = made.questions == question
    labels = [
        made.labels[ours & (made.answers == number)] for number in range(1, int(made.answers[ours].max()) + 1)
    ]
    return [lm.processor.tokenizer.decode(ids[:-1]) for ids in labels]


def test_listed_choices_are_answered_by_a_letter(lm, monkeypatch):
    seen, real = [], lm.template
    monkeypatch.setattr(lm, "template", lambda q, listed=None: seen.append((q, listed)) or real(q, listed))
    data = Lessons(lm, lessons(), 0, vary=False)
    letters = Counter()
    for i in range(len(data)):
        seen.clear()
        made = data[i]
        for number, (question, listed) in enumerate(seen, 1):
            answer, *wrong = said(lm, made, number)
            if listed is None:
                assert answer == {"Where?": "The harbor", "Who?": "Anna"}[question]
                assert wrong == {"Where?": ["A boat", "A lamp", "The sea"], "Who?": []}[question]
            else:
                assert question == "Where?"
                assert sorted(listed) == ["A boat", "A lamp", "The harbor", "The sea"]
                assert answer == letter(listed.index("The harbor"))
                assert sorted([answer, *wrong]) == list("ABCD")
            letters[answer if listed else question] += 1
    assert letters["Who?"] == 40
    assert len(set(letters) & set("ABCD")) >= 3
    assert sum(letters[each] for each in "ABCD") / 40 == pytest.approx(LISTED, abs=0.17)


def test_lessons_are_kept(tmp_path):
    given = [
        *lessons(3),
        Lesson(tokens(4), ASKED, paced=True),
        Lesson(AudioTokens(torch.ones(2, 32).bfloat16(), tokens(2).times, False), ASKED[:1]),
    ]
    path = tmp_path / "below" / "shard-0001.safetensors"
    save_lessons(path, given)
    found = load_lessons(path)
    assert sorted(file.name for file in path.parent.iterdir()) == ["shard-0001.json", "shard-0001.safetensors"]
    for one, other in zip(given, found, strict=True):
        assert (one.asked, one.paced) == (other.asked, other.paced)
        assert one.tokens.aligned == other.tokens.aligned
        assert one.tokens.embeds.dtype == other.tokens.embeds.dtype
        assert torch.equal(one.tokens.embeds, other.tokens.embeds)
        assert torch.equal(one.tokens.times, other.tokens.times)


def test_a_kill_leaves_no_half_file(tmp_path, monkeypatch):
    def killed(tensors, file):
        file.write_bytes(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr(lessons_module, "save_file", killed)
    with pytest.raises(KeyboardInterrupt):
        save_lessons(tmp_path / "one.safetensors", lessons(1))
    assert not (tmp_path / "one.safetensors").exists()
