"""Stage two: a LoRA on the LLM learns to read speech tokens, to transcribe them and to answer questions on them."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any, TypedDict

import torch
from jaxtyping import Float, Int
from peft import LoraConfig, get_peft_model
from safetensors import safe_open
from torch import Tensor
from torch.utils.data import Dataset
from tqdm.auto import tqdm
from transformers import PreTrainedTokenizerBase, Trainer, TrainingArguments

from auricle.errors import TrainingError
from auricle.models.mini.adapter import render
from auricle.models.mini.modeling import AuricleMiniForConditionalGeneration
from auricle.models.mini.processing import AUDIO_TOKEN
from auricle.training.align import last_checkpoint
from auricle.transcribing import INSTRUCTION

IGNORED = -100  # label of a token that is not learned
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
    learning_rate: float = 4e-4
    batch_size: int = 8
    rank: int = 16
    seed: int = 0


@dataclass(frozen=True)
class Conversation:
    """A recording's speech tokens, and what is asked and answered about it, turn by turn."""

    speech: Float[Tensor, "audio dim"]
    turns: tuple[tuple[str, str], ...]


class Example(TypedDict):
    """One conversation as the LLM reads it."""

    inputs_embeds: Float[Tensor, "tokens dim"]
    labels: Int[Tensor, "tokens"]


class Conversations(Dataset[Example]):
    """Conversations with the loss on the answers only; the order of the questions is drawn once."""

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
        self._table = model.language_model.model.embed_tokens.weight.detach()
        self._seed = seed

    def __len__(self) -> int:
        return len(self._conversations)

    def __getitem__(self, index: int) -> Example:
        conversation = self._conversations[index]
        turns = list(conversation.turns)
        Random(f"{self._seed}-{index}").shuffle(turns)
        before, after = render(turns[0][0]).split(AUDIO_TOKEN)
        parts = [
            self._text(before, learned=False),
            self._speech(conversation.speech),
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

    def _speech(self, speech: Float[Tensor, "audio dim"]) -> Example:
        return {"inputs_embeds": speech.to(self._table), "labels": torch.full((len(speech),), IGNORED)}


@torch.inference_mode()
def listen(
    model: AuricleMiniForConditionalGeneration, folder: Path, limit: int | None = None
) -> list[Conversation]:
    """Turns the recordings of a folder of shards into conversations, by the trained connector.

    Shards of `auricle.training.recordings` give questions, those of `auricle.training.speech` transcriptions; not
    more than `limit` conversations.

    Raises:
        TrainingError: the folder holds no shards.
    """
    table = model.language_model.model.embed_tokens.weight[model.config.piece_ids]
    paths = sorted(folder.glob("speech-*.safetensors"))
    if not paths:
        raise TrainingError(f"There are no recordings in '{folder}'; make them first.")
    found = list[Conversation]()
    for path in tqdm(paths, desc=f"listening to {folder.name}"):
        states = safe_open(path, framework="pt").get_slice("states")
        row = 0
        for about in json.loads(path.with_suffix(".json").read_text()):
            if limit is not None and len(found) >= limit:
                return found
            lengths = about["lengths"] if isinstance(about, dict) else [states.get_shape()[1] // 4]
            logits = model.connector(states[row : row + len(lengths)].to(table))
            tokens = model.connector.embed(logits, table)
            row += len(lengths)
            speech = torch.cat([tokens[i, :n] for i, n in enumerate(lengths)])
            turns = about["questions"] if isinstance(about, dict) else [(INSTRUCTION, " ".join(about))]
            found.append(Conversation(speech.clone(), tuple((q, a) for q, a in turns)))
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
    trainer = Trainer(llm, arguments, data_collator=_one, train_dataset=data)
    trainer.train(resume_from_checkpoint=last_checkpoint(output))
    llm.to(torch.bfloat16).save_pretrained(str(output / "lora"))


def _one(examples: list[Example]) -> dict[str, Tensor]:
    (example,) = examples
    return {"inputs_embeds": example["inputs_embeds"][None].float(), "labels": example["labels"][None]}
