"""Stage two: a LoRA on the LLM learns to read speech tokens, to transcribe them and to answer questions on them."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any, TypedDict

import torch
from jaxtyping import Bool, Float, Int
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file
from torch import Tensor
from torch.utils.data import Dataset
from tqdm.auto import tqdm
from transformers import PreTrainedTokenizerBase, Trainer, TrainingArguments

from auricle.models.mini.adapter import render
from auricle.models.mini.ear import Ear
from auricle.models.mini.modeling import AuricleMiniForConditionalGeneration
from auricle.models.mini.pieces import Pieces
from auricle.models.mini.processing import AUDIO_TOKEN
from auricle.training.align import last_checkpoint, mask
from auricle.training.speech import load_shard
from auricle.transcribing import INSTRUCTION

IGNORED = -100  # label of a token that is not learned
WHOLE = 0.25  # part of the conversations from which no blanks are left out
LINEARS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]


@dataclass(frozen=True)
class InstructRecipe:
    """How the LLM's LoRA is trained.

    Attributes:
        epochs: passes over the conversations.
        learning_rate: peak of a cosine schedule with warm-up.
        batch_size: conversations per step, by gradient accumulation.
        rank: of the LoRA on all linear layers.
        seed: of the order and of the questions' order.
    """

    epochs: float = 1
    learning_rate: float = 3e-4
    batch_size: int = 4
    rank: int = 16
    seed: int = 0


@dataclass(frozen=True)
class Conversation:
    """A recording's speech tokens, and what is asked and answered about it, turn by turn.

    Attributes:
        speech: in the LLM's input space.
        blank: which tokens stand for no piece.
        turns: questions and answers.
    """

    speech: Float[Tensor, "audio dim"]
    blank: Bool[Tensor, "audio"]
    turns: tuple[tuple[str, str], ...]


class Example(TypedDict):
    """One conversation as the LLM reads it."""

    inputs_embeds: Float[Tensor, "tokens dim"]
    labels: Int[Tensor, "tokens"]


class Conversations(Dataset[Example]):
    """Conversations with the loss on the answers only.

    The order of the questions and which blanks are left out are drawn anew in every epoch. Blanks are left out so
    that the LLM reads pruned speech as well as whole, and because it trains faster on fewer tokens.
    """

    def __init__(
        self,
        conversations: Sequence[Conversation],
        model: AuricleMiniForConditionalGeneration,
        tokenizer: Any,  # noqa: ANN401 - called as a tokenizer
        seed: int,
    ) -> None:
        """Embeds with the LLM's own table, which is not trained."""
        self._conversations = conversations
        self._tokenizer = tokenizer
        self._table = model.language_model.model.embed_tokens.weight.detach().clone()
        self._seed = seed
        self._seen = [0] * len(conversations)

    def __len__(self) -> int:
        return len(self._conversations)

    def __getitem__(self, index: int) -> Example:
        conversation = self._conversations[index]
        rng = Random(f"{self._seed}-{index}-{self._seen[index]}")
        self._seen[index] += 1
        turns = list(conversation.turns)
        rng.shuffle(turns)
        before, after = render(turns[0][0]).split(AUDIO_TOKEN)
        parts = [
            self._text(before, learned=False),
            self._speech(conversation, rng),
            self._text(after, learned=False),
        ]
        for number, (question, answer) in enumerate(turns):
            if number:
                parts.append(
                    self._text(f"\n<|im_start|>user\n{question}<|im_end|>\n<|im_start|>assistant\n", learned=False)
                )
            parts.append(self._text(f"{answer}<|im_end|>", learned=True))
        return {
            "inputs_embeds": torch.cat([part["inputs_embeds"] for part in parts]),
            "labels": torch.cat([part["labels"] for part in parts]),
        }

    def _text(self, text: str, *, learned: bool) -> Example:
        ids = torch.tensor(self._tokenizer(text, add_special_tokens=False)["input_ids"])
        return {"inputs_embeds": self._table[ids], "labels": ids if learned else torch.full_like(ids, IGNORED)}

    def _speech(self, conversation: Conversation, rng: Random) -> Example:
        share = 1.0 if rng.random() < WHOLE else rng.random()
        drawn = torch.tensor([rng.random() < share for _ in range(len(conversation.speech))])
        speech = conversation.speech[drawn | ~conversation.blank]
        return {"inputs_embeds": speech.to(self._table), "labels": torch.full((len(speech),), IGNORED)}


@torch.inference_mode()
def listen(model: AuricleMiniForConditionalGeneration, paths: Sequence[Path]) -> list[Conversation]:
    """Hears the recordings of shards by the trained ear, and makes conversations of them.

    Talks give their questions, single sentences a transcription. Parts of the states are silenced, as in the ear's
    own training, so that it makes about as many errors here as on recordings that it was not trained on.
    """
    table, ear = model.language_model.model.embed_tokens.weight[model.config.piece_ids], Ear(model)
    found = list[Conversation]()
    for path in tqdm(paths, desc="listening"):
        states = load_file(path)["states"]
        row = 0
        for recording in load_shard(path):
            logits = list[Tensor]()
            for length in recording.lengths:
                window = states[row : row + 1].to(table)
                logits.append(ear(window * mask(1, window.shape[1])[..., None].to(table))[0, :length])
                row += 1
            heard = torch.cat(logits)
            speech = model.connector.embed(heard[None], table)[0]
            turns = recording.questions or ((INSTRUCTION, recording.text),)
            blank = heard.argmax(-1) == heard.shape[-1] - 1
            found.append(Conversation(speech.clone(), blank, tuple((q, _capital(a)) for q, a in turns)))
    return found


def read(
    model: AuricleMiniForConditionalGeneration,
    pieces: Pieces,
    talks: Iterable[tuple[str, Sequence[tuple[str, str]]]],
) -> list[Conversation]:
    """Conversations about talks as a perfect ear would hear them: every piece one speech token, without blanks.

    Args:
        model: whose embeddings the speech tokens are.
        pieces: of the connector.
        talks: what is said, and the questions about it with their answers.
    """
    table = model.language_model.model.embed_tokens.weight.detach()[model.config.piece_ids]
    found = list[Conversation]()
    for text, questions in talks:
        speech = table[pieces.encode(text)]
        blank = torch.zeros(len(speech), dtype=torch.bool)
        found.append(Conversation(speech, blank, tuple((q, _capital(a)) for q, a in questions)))
    return found


def instruct(
    model: AuricleMiniForConditionalGeneration,
    tokenizer: PreTrainedTokenizerBase,
    conversations: Sequence[Conversation],
    recipe: InstructRecipe,
    output: Path,
) -> None:
    """Trains the LoRA and writes it to `output/lora`; a killed run goes on from its last checkpoint."""
    torch.manual_seed(recipe.seed)
    config = LoraConfig(r=recipe.rank, lora_alpha=2 * recipe.rank, target_modules=LINEARS, task_type="CAUSAL_LM")
    base: Any = model.language_model.float()
    base.name_or_path = base.config.name_or_path = ""  # else the LoRA would name a folder of this machine
    llm = get_peft_model(base, config)
    arguments = TrainingArguments(
        output_dir=str(output),
        num_train_epochs=recipe.epochs,
        learning_rate=recipe.learning_rate,
        lr_scheduler_type="cosine",
        warmup_steps=10,
        per_device_train_batch_size=1,
        gradient_accumulation_steps=recipe.batch_size,
        bf16=True,
        use_cpu=not torch.cuda.is_available(),
        logging_steps=5,
        save_steps=50,
        save_total_limit=2,
        seed=recipe.seed,
        remove_unused_columns=False,
        report_to="none",
        dataloader_pin_memory=False,
    )
    data = Conversations(conversations, model, tokenizer, recipe.seed)
    trainer = Trainer(llm, arguments, data_collator=collate, train_dataset=data)
    trainer.train(resume_from_checkpoint=last_checkpoint(output))
    llm.to(torch.bfloat16).save_pretrained(str(output / "lora"))


def collate(examples: list[Example]) -> dict[str, Tensor]:
    """One conversation, with the places before its answers' tokens: only there is the next token predicted."""
    (example,) = examples
    places = (example["labels"][1:] != IGNORED).nonzero()[:, 0]
    learned = example["labels"][places + 1][None]
    return {
        "inputs_embeds": example["inputs_embeds"][None].float(),
        "logits_to_keep": places,
        "labels": learned,
        "shift_labels": learned,
    }


def _capital(answer: str) -> str:
    return answer[:1].upper() + answer[1:]
