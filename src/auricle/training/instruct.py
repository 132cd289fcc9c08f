"""Stage two: a LoRA on the LLM learns to read speech tokens, to transcribe them and to answer questions on them."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any, TypedDict

import torch
from jaxtyping import Int
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file
from torch import Tensor
from torch.utils.data import Dataset
from tqdm.auto import tqdm
from transformers import Trainer, TrainingArguments

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
        read_epochs: passes over the talks to read, before any is heard.
        epochs: passes over what is heard.
        learning_rate: peak of a cosine schedule with warm-up.
        batch_size: conversations per step, by gradient accumulation.
        rank: of the LoRA on all linear layers.
        seed: of every choice.
    """

    read_epochs: float = 1.0
    epochs: float = 1.0
    learning_rate: float = 6e-4
    batch_size: int = 4
    rank: int = 16
    seed: int = 0


@dataclass(frozen=True)
class Conversation:
    """A recording's speech tokens, and what is asked and answered about it, turn by turn.

    Attributes:
        speech: the LLM's tokens that are heard.
        turns: questions and answers.
    """

    speech: tuple[int, ...]
    turns: tuple[tuple[str, str], ...]


class Example(TypedDict):
    """One conversation as the LLM reads it."""

    input_ids: Int[Tensor, "tokens"]
    labels: Int[Tensor, "tokens"]


class Conversations(Dataset[Example]):
    """Conversations with the loss on the answers only.

    The order of the questions and which blanks are left out are drawn anew each time that one is asked for. Blanks
    are left out so that the LLM reads pruned speech as well as whole, and because it trains faster on fewer tokens.
    """

    def __init__(
        self,
        conversations: Sequence[Conversation],
        blank: int,
        tokenizer: Any,  # noqa: ANN401 - called as a tokenizer
        seed: int,
    ) -> None:
        """Takes the conversations and what renders them.

        Args:
            conversations: at least one turn each.
            blank: the LLM's token for a frame in which no token begins.
            tokenizer: the LLM's.
            seed: of every choice.
        """
        self._conversations = conversations
        self._blank = blank
        self._tokenizer = tokenizer
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
            "input_ids": torch.cat([part["input_ids"] for part in parts]),
            "labels": torch.cat([part["labels"] for part in parts]),
        }

    def _text(self, text: str, *, learned: bool) -> Example:
        ids = torch.tensor(self._tokenizer(text, add_special_tokens=False)["input_ids"])
        return {"input_ids": ids, "labels": ids if learned else torch.full_like(ids, IGNORED)}

    def _speech(self, conversation: Conversation, rng: Random) -> Example:
        share = 1.0 if rng.random() < WHOLE else rng.random()
        kept = [token for token in conversation.speech if token != self._blank or rng.random() < share]
        return {"input_ids": torch.tensor(kept), "labels": torch.full((len(kept),), IGNORED)}


@torch.inference_mode()
def listen(
    model: AuricleMiniForConditionalGeneration, paths: Sequence[Path], transcribed: float, seed: int
) -> list[Conversation]:
    """Hears the recordings of shards by the trained ear, and makes conversations of them.

    Talks give their questions, single sentences a transcription. Parts of the states are silenced, as in the ear's
    own training, so that it makes about as many errors here as on recordings that it was not trained on.

    Args:
        model: whose ear it is.
        paths: of the shards.
        transcribed: the part of the single sentences' windows that is heard.
        seed: of what is silenced and which sentences are heard.
    """
    ear, found = Ear(model), list[Conversation]()
    dtype = next(ear.parameters()).dtype
    generator = torch.Generator().manual_seed(seed)
    for path in tqdm(paths, desc="listening"):
        states = load_file(path)["states"].to(dtype)
        row = 0
        for recording in load_shard(path):
            windows, row = states[row : row + len(recording.lengths)], row + len(recording.lengths)
            if not recording.questions and torch.rand(1, generator=generator) >= transcribed:
                continue
            tokens = list[int]()
            for window, length in zip(windows, recording.lengths, strict=True):
                seen = window * mask(1, len(window), generator)[0, :, None].to(dtype)
                tokens += model.spelling.frames(ear(seen[None])[0, :length].argmax(-1)).tolist()
            turns = recording.questions or ((INSTRUCTION, recording.text),)
            found.append(Conversation(tuple(tokens), tuple((q, _capital(a)) for q, a in turns)))
    return found


def read(
    model: AuricleMiniForConditionalGeneration,
    pieces: Pieces,
    talks: Iterable[tuple[str, Sequence[tuple[str, str]]]],
) -> list[Conversation]:
    """Conversations about talks as a perfect ear would hear them, without blanks.

    Args:
        model: whose spelling it is.
        pieces: of the connector.
        talks: what is said, and the questions about it with their answers.
    """
    found = list[Conversation]()
    for text, questions in talks:
        tokens = model.spelling.read(pieces.encode(text))
        words = tuple(token for token in tokens if token != model.spelling.blank)
        found.append(Conversation(words, tuple((q, _capital(a)) for q, a in questions)))
    return found


def adapt(model: AuricleMiniForConditionalGeneration, recipe: InstructRecipe) -> PeftModel:
    """The model's LLM in float32 with a new LoRA, of which it alone is trained."""
    torch.manual_seed(recipe.seed)
    config = LoraConfig(r=recipe.rank, lora_alpha=2 * recipe.rank, target_modules=LINEARS, task_type="CAUSAL_LM")
    base: Any = model.language_model.float()
    base.name_or_path = base.config.name_or_path = ""  # else the LoRA would name a folder of this machine
    llm: Any = get_peft_model(base, config)
    return llm  # type: ignore[no-any-return]


def instruct(llm: PeftModel, data: Conversations, epochs: float, recipe: InstructRecipe, output: Path) -> None:
    """Trains the LoRA in place; a killed run goes on from its last checkpoint in `output`."""
    arguments = TrainingArguments(
        output_dir=str(output),
        num_train_epochs=epochs,
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
    trainer = Trainer(llm, arguments, data_collator=collate, train_dataset=data)
    trainer.train(resume_from_checkpoint=last_checkpoint(output))


def collate(examples: list[Example]) -> dict[str, Tensor]:
    """One conversation, with the places before its answers' tokens: only there is the next token predicted."""
    (example,) = examples
    places = (example["labels"][1:] != IGNORED).nonzero()[:, 0]
    learned = example["labels"][places + 1][None]
    return {
        "input_ids": example["input_ids"][None],
        "logits_to_keep": places,
        "labels": learned,
        "shift_labels": learned,
    }


def _capital(answer: str) -> str:
    return answer[:1].upper() + answer[1:]
