"""Stage two: what the LLM reads, what it learns of it, and the LoRA that comes out."""

import json

import pytest
import torch
from transformers import LlamaForCausalLM

from auricle.models.mini import assembly
from auricle.models.mini.adapter import render
from auricle.models.mini.ear import Ear
from auricle.models.mini.pieces import Pieces
from auricle.models.mini.processing import AUDIO_TOKEN
from auricle.training import instruct as instructing
from auricle.training.instruct import (
    IGNORED,
    Conversation,
    Conversations,
    InstructRecipe,
    adapt,
    collate,
    instruct,
    listen,
    read,
)
from auricle.training.speech import Recording, save_shard, shard_path
from auricle.training.voicing import Said
from auricle.transcribing import INSTRUCTION
from models import tiny_mini

TURNS = (("Where is it?", "The harbor"), ("Who?", "Anna"), ("When does it end?", "May the third"))
BLANK = tiny_mini.tokenizer().get_vocab()["Ġ"]
# peft asks transformers for an attribute by its old name.
peft_warns = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")


@pytest.fixture(scope="module")
def tokenizer():
    return tiny_mini.tokenizer()


@pytest.fixture(scope="module")
def model():
    return tiny_mini.model()


def conversations(tokenizer, count=8, seed=0, blanks=0):
    """Nine speech tokens that no text has, the last `blanks` of them blank."""
    speech = tuple(range(10, 19 - blanks)) + (BLANK,) * blanks
    return speech, Conversations([Conversation(speech, TURNS)] * count, BLANK, tokenizer, seed)


def test_only_answers_are_learned(tokenizer):
    _, data = conversations(tokenizer)
    for example in data:
        ids, labels = example["input_ids"], example["labels"]
        learned = labels != IGNORED
        assert torch.equal(labels[learned], ids[learned])
        starts = (learned & ~learned.roll(1)).nonzero()[:, 0].tolist()
        runs = [tokenizer.decode(part[part != IGNORED]) for part in labels.tensor_split(starts)[1:]]
        assert sorted(runs) == sorted(f"{answer}<|im_end|>" for _, answer in TURNS)


def test_a_conversation_reads_as_the_adapters_prompt(tokenizer):
    speech, data = conversations(tokenizer)
    for example in data:
        text = tokenizer.decode(example["input_ids"]).replace(tokenizer.decode(speech), AUDIO_TOKEN)
        first, *others = text.split("\n<|im_start|>user\n")[1:]
        questions = [part.split("<|im_end|>")[0] for part in (first.removeprefix(f"{AUDIO_TOKEN}\n"), *others)]
        assert sorted(questions) == sorted(question for question, _ in TURNS)
        assert text.startswith(render(questions[0]))
        answers = dict(TURNS)
        assert all(f"{q}<|im_end|>\n<|im_start|>assistant\n{answers[q]}<|im_end|>" in text for q in questions)


def test_the_order_of_the_questions_is_drawn(tokenizer):
    def orders(seed, epochs=1):
        _, data = conversations(tokenizer, seed=seed)
        return [[tuple(data[i]["labels"].tolist()) for i in range(len(data))] for _ in range(epochs)]

    assert len(set(orders(0)[0])) > 1
    assert orders(0, 2) == orders(0, 2)
    assert orders(0) != orders(1)
    first, second = orders(0, 2)
    assert first != second


def test_some_blanks_are_left_out_and_nothing_else(tokenizer):
    _, data = conversations(tokenizer, count=60, blanks=6)
    whole, kept = len(conversations(tokenizer)[1][0]["labels"]), []
    for example in data:
        ids = example["input_ids"].tolist()
        start = ids.index(10)
        assert ids[start : start + 3] == [10, 11, 12]
        blanks = 6 - (whole - len(ids))
        assert ids[start + 3 : start + 3 + blanks] == [BLANK] * blanks
        kept.append(blanks)
    assert kept.count(6) >= 0.25 * 60
    assert min(kept) <= 1


@pytest.fixture
def shards(tmp_path):
    """Two recordings with questions, and two windows to transcribe, with the states of each."""
    torch.manual_seed(0)
    talks, windows = torch.randn(3, 1500, 16).bfloat16(), torch.randn(2, 1500, 16).bfloat16()
    end = (Said("x", 30.0),)
    one = [Recording((end, end), (375, 10), TURNS[:2]), Recording((end,), (100,), TURNS[2:])]
    save_shard(shard_path(tmp_path, 0), talks, one)
    two = [
        Recording(((Said("One.", 3.0), Said("Two.", 5.0)),), (60,)),
        Recording(((Said("Three.", 9.0),),), (375,)),
    ]
    save_shard(shard_path(tmp_path, 1), windows, two)
    return [shard_path(tmp_path, 0), shard_path(tmp_path, 1)], talks, windows


@pytest.fixture
def unmasked(monkeypatch):
    monkeypatch.setattr(instructing, "mask", lambda batch, frames, _: torch.ones(batch, frames, dtype=torch.bool))


def heard(model, states, length=375):
    with torch.no_grad():
        return tuple(model.spelling.frames(Ear(model)(states[None].float())[0, :length].argmax(-1)).tolist())


def test_listening_to_talks(model, shards, unmasked):
    paths, talks, _ = shards
    first, second = listen(model, paths[:1], 0.0, 0)
    assert first.turns == (("Where is it?", "The harbor"), ("Who?", "Anna"))
    assert second.turns == TURNS[2:]
    assert first.speech == heard(model, talks[0]) + heard(model, talks[1], 10)
    assert second.speech == heard(model, talks[2], 100)


def test_listening_to_sentences(model, shards, unmasked):
    paths, _, windows = shards
    first, second = listen(model, paths[1:], 1.0, 0)
    assert first.turns == ((INSTRUCTION, "One. Two."),)
    assert second.turns == ((INSTRUCTION, "Three."),)
    assert second.speech == heard(model, windows[1])
    assert len(first.speech) == 60
    assert listen(model, paths[1:], 0.0, 0) == []


def test_parts_are_silenced_as_in_the_ears_training(model, shards):
    paths, talks, _ = shards
    (first, _) = listen(model, paths[:1], 0.0, 0)
    assert first.speech[:375] != heard(model, talks[0])
    assert listen(model, paths, 0.5, 7) == listen(model, paths, 0.5, 7) != listen(model, paths, 0.5, 8)


def test_reading(model):
    pieces = Pieces(dict.fromkeys(tiny_mini.PIECES, -1.0))
    (found,) = read(model, pieces, [("The an!", [("Which?", "no article")])])
    vocabulary = tiny_mini.tokenizer().get_vocab()
    assert found.speech == (vocabulary["Ġthe"], vocabulary["Ġan"])
    assert found.turns == (("Which?", "No article"),)


def test_the_loss_is_that_of_the_whole_prompt(model, tokenizer):
    _, data = conversations(tokenizer)
    example, llm = data[0], model.language_model
    with torch.no_grad():
        whole = llm(input_ids=example["input_ids"][None], labels=example["labels"][None])
        learned = llm(**collate([example]))
    assert learned.logits.shape[1] == (example["labels"] != IGNORED).sum() < whole.logits.shape[1]
    torch.testing.assert_close(learned.loss, whole.loss)


@peft_warns
def test_the_lora_learns_and_can_be_merged(tokenizer, shards, tmp_path):
    paths, *_ = shards
    model = tiny_mini.model()
    base = LlamaForCausalLM(model.config.text_config).eval()
    base.load_state_dict(model.language_model.state_dict())
    talks = listen(model, paths[:1], 0.0, 0)
    data = Conversations(talks, BLANK, tokenizer, 0)
    example = data[1]
    batch = {"input_ids": example["input_ids"][None], "labels": example["labels"][None]}
    with torch.no_grad():
        before = base(**batch).loss
    recipe = InstructRecipe(learning_rate=2e-2, batch_size=1, rank=2)
    model.language_model.config.name_or_path = str(tmp_path / "secret")
    llm = adapt(model, recipe)
    instruct(llm, data, 10.0, recipe, tmp_path / "out")
    llm.save_pretrained(str(tmp_path / "out" / "lora"))
    state = json.loads((tmp_path / "out" / "checkpoint-20" / "trainer_state.json").read_text())
    assert state["global_step"] == 20
    merged = assembly._with_lora(base, tmp_path / "out" / "lora")
    with torch.no_grad():
        after = merged(**batch).loss
    assert after < 0.8 * before
    assert merged.state_dict().keys() == tiny_mini.model().language_model.state_dict().keys()
    # What goes into the package says nothing of the machine that trained it.
    texts = [file.read_text() for file in (tmp_path / "out" / "lora").glob("*") if file.suffix in (".json", ".md")]
    assert texts
    assert "secret" not in "".join(texts)
