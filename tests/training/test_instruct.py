"""Stage two: what the LLM reads, what it learns of it, and the LoRA that comes out."""

import json

import pytest
import torch
from transformers import LlamaForCausalLM

from auricle.errors import TrainingError
from auricle.models.mini import assembly
from auricle.models.mini.adapter import render
from auricle.models.mini.processing import AUDIO_TOKEN
from auricle.training.instruct import IGNORED, Conversation, Conversations, InstructRecipe, instruct, listen
from auricle.training.speech import save_shard, shard_path
from auricle.transcribing import INSTRUCTION
from models import tiny_mini

TURNS = (("Where is it?", "The harbor"), ("Who?", "Anna"), ("When does it end?", "May the third"))
DIM = 32
# peft asks transformers for an attribute by its old name.
peft_warns = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")


@pytest.fixture(scope="module")
def tokenizer():
    return tiny_mini.tokenizer()


@pytest.fixture(scope="module")
def model():
    return tiny_mini.model()


def conversations(model, tokenizer, count=8, seed=0):
    speech = torch.randn(9, DIM)
    return speech, Conversations([Conversation(speech, TURNS)] * count, model, tokenizer, seed)


def read(example, model, tokenizer):
    """The text of an example, found again by its embeddings; speech is marked with `<filename>`."""
    table = model.language_model.model.embed_tokens.weight
    distances = torch.cdist(example["inputs_embeds"], table, compute_mode="donot_use_mm_for_euclid_dist")
    ids = distances.argmin(1)
    ids[distances.min(1).values > 1e-4] = tiny_mini.AUDIO_TOKEN_ID
    return ids


def test_only_answers_are_learned(model, tokenizer):
    _, data = conversations(model, tokenizer)
    for example in data:
        ids, labels = read(example, model, tokenizer), example["labels"]
        learned = labels != IGNORED
        assert torch.equal(labels[learned], ids[learned])
        starts = (learned & ~learned.roll(1)).nonzero()[:, 0].tolist()
        runs = [tokenizer.decode(part[part != IGNORED]) for part in labels.tensor_split(starts)[1:]]
        assert sorted(runs) == sorted(f"{answer}<|im_end|>" for _, answer in TURNS)


def test_a_conversation_reads_as_the_adapters_prompt(model, tokenizer):
    speech, data = conversations(model, tokenizer)
    for example in data:
        ids = read(example, model, tokenizer)
        text = tokenizer.decode(ids).replace(AUDIO_TOKEN * len(speech), AUDIO_TOKEN)
        first, *others = text.split("\n<|im_start|>user\n")[1:]
        questions = [part.split("<|im_end|>")[0] for part in (first.removeprefix(f"{AUDIO_TOKEN}\n"), *others)]
        assert sorted(questions) == sorted(question for question, _ in TURNS)
        assert text.startswith(render(questions[0]))
        answers = dict(TURNS)
        assert all(f"{q}<|im_end|>\n<|im_start|>assistant\n{answers[q]}<|im_end|>" in text for q in questions)
        start = int((ids == tiny_mini.AUDIO_TOKEN_ID).nonzero()[0])
        assert torch.equal(example["inputs_embeds"][start : start + 9], speech)


def test_the_order_of_the_questions_is_drawn_once(model, tokenizer):
    _, data = conversations(model, tokenizer)
    orders = [tuple(example["labels"].tolist()) for example in data]
    assert len(set(orders)) > 1
    assert orders == [tuple(example["labels"].tolist()) for example in conversations(model, tokenizer)[1]]
    assert orders != [tuple(example["labels"].tolist()) for example in conversations(model, tokenizer, seed=1)[1]]


@pytest.fixture
def shards(tmp_path):
    """Two recordings with questions, and two windows to transcribe, with the states of each."""
    torch.manual_seed(0)
    talks, windows = torch.randn(3, 1500, 16).bfloat16(), torch.randn(2, 1500, 16).bfloat16()
    about = [
        {"lengths": [375, 10], "questions": TURNS[:2], "text": "x"},
        {"lengths": [100], "questions": TURNS[2:], "text": "y"},
    ]
    (tmp_path / "recordings").mkdir()
    (tmp_path / "speech").mkdir()
    save_shard(shard_path(tmp_path / "recordings", 0), talks, about)
    save_shard(shard_path(tmp_path / "speech", 0), windows[:1], [["One.", "Two."]])
    save_shard(shard_path(tmp_path / "speech", 1), windows[1:], [["Three."]])
    return tmp_path, talks, windows


def heard(model, states):
    with torch.no_grad():
        table = model.language_model.model.embed_tokens.weight[model.config.piece_ids]
        return model.connector.embed(model.connector(states[None].float()), table)[0]


def test_listening_to_recordings(model, shards):
    folder, talks, _ = shards
    first, second = listen(model, folder / "recordings")
    assert first.turns == TURNS[:2]
    assert second.turns == TURNS[2:]
    expected = torch.cat([heard(model, talks[0]), heard(model, talks[1])[:10]])
    torch.testing.assert_close(first.speech, expected, atol=1e-4, rtol=0)
    torch.testing.assert_close(second.speech, heard(model, talks[2])[:100], atol=1e-4, rtol=0)


def test_listening_to_windows(model, shards):
    folder, _, windows = shards
    first, second = listen(model, folder / "speech")
    assert first.turns == ((INSTRUCTION, "One. Two."),)
    assert second.turns == ((INSTRUCTION, "Three."),)
    torch.testing.assert_close(second.speech, heard(model, windows[1]), atol=1e-4, rtol=0)
    assert len(listen(model, folder / "speech", 1)) == 1
    assert listen(model, folder / "speech", 0) == []


def test_nothing_to_listen_to(model, tmp_path):
    with pytest.raises(TrainingError, match="no recordings"):
        listen(model, tmp_path)


@peft_warns
def test_the_lora_learns_and_can_be_merged(tokenizer, shards, tmp_path):
    folder, *_ = shards
    model = tiny_mini.model()
    base = LlamaForCausalLM(model.config.text_config).eval()
    base.load_state_dict(model.language_model.state_dict())
    talks = listen(model, folder / "recordings")
    example = Conversations(talks, model, tokenizer, 0)[1]
    batch = {"inputs_embeds": example["inputs_embeds"][None], "labels": example["labels"][None]}
    with torch.no_grad():
        before = base(**batch).loss
    recipe = InstructRecipe(epochs=10.0, learning_rate=2e-2, batch_size=1, rank=2)
    model.language_model.config.name_or_path = str(tmp_path / "secret")
    instruct(model, tokenizer, talks, recipe, tmp_path / "out")
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
