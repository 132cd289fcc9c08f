"""Stage one: the connector learns to hear, by CTC over pieces of the LLM's vocabulary, without running the LLM."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import TypedDict

import torch
from jaxtyping import Bool, Float, Int
from safetensors import safe_open
from torch import Tensor, nn
from torch.utils.data import Dataset
from transformers import Trainer, TrainingArguments

from auricle.errors import TrainingError
from auricle.models.mini.connector import ALPHABET, Connector, ctc_loss
from auricle.models.mini.pieces import Pieces, normalize

MASKED_SPANS, MASKED_FRAMES = 6, 40  # up to 6 spans of up to 0.8 s of the encoder's 50 Hz states are silenced


@dataclass(frozen=True)
class AlignRecipe:
    """How the connector is trained.

    Attributes:
        epochs: passes over the speech.
        learning_rate: peak of the one-cycle schedule (linear warm-up, cosine to zero).
        batch_size: windows of 30 s per step.
        seed: of the order and of the masks.
    """

    epochs: float = 6
    learning_rate: float = 1e-3
    batch_size: int = 8
    seed: int = 0


class Example(TypedDict):
    """One window: its encoder states and the letters and pieces that are spoken in it."""

    states: Float[Tensor, "frames encoder_dim"]
    letters: Int[Tensor, "letters"]
    labels: Int[Tensor, "labels"]


class Shards(Dataset[Example]):
    """The windows of a folder of shards, read from disk as they are asked for."""

    def __init__(self, folder: Path, pieces: Pieces, shards: Sequence[int] | None = None) -> None:
        """Opens the shards of `folder` (all, or those of the given numbers).

        Raises:
            TrainingError: there are none.
        """
        paths = sorted(folder.glob("speech-*.safetensors"))
        paths = [p for p in paths if shards is None or int(p.stem.split("-")[1]) in shards]
        if not paths:
            raise TrainingError(f"There is no training speech in '{folder}'; make it first.")
        self._pieces = pieces
        self._files = [safe_open(path, framework="pt").get_slice("states") for path in paths]
        self._texts = [json.loads(path.with_suffix(".json").read_text()) for path in paths]
        self._starts = [0, *accumulate(map(len, self._texts))]

    def __len__(self) -> int:
        return self._starts[-1]

    def __getitem__(self, index: int) -> Example:
        shard = next(i for i, start in enumerate(self._starts[1:]) if index < start)
        row = index - self._starts[shard]
        text = normalize(" ".join(self._texts[shard][row]))
        return {
            "states": self._files[shard][row : row + 1][0],
            "letters": torch.tensor([ALPHABET.index(letter) for letter in text]),
            "labels": torch.tensor(self._pieces.encode(text)),
        }


class Alignment(nn.Module):
    """The connector with its training loss."""

    def __init__(self, connector: Connector) -> None:
        """Wraps `connector`, whose weights are trained in place."""
        super().__init__()
        self.connector = connector

    def forward(
        self,
        states: Float[Tensor, "batch frames encoder_dim"],
        letters: list[Int[Tensor, "..."]],
        labels: list[Int[Tensor, "..."]],
    ) -> dict[str, Tensor]:
        """CTC loss per letter plus CTC loss per piece, and the pieces' logits in evaluation mode."""
        if self.training:
            states = states * _mask(states.shape[0], states.shape[1])[..., None]
        heard = self.connector.letters(states)
        logits = self.connector.spell(heard)
        loss = ctc_loss(heard, letters) + ctc_loss(logits, labels)
        return {"loss": loss} if self.training else {"loss": loss, "logits": logits}


def collate(examples: list[Example]) -> dict[str, object]:
    """Stacks the states of a batch in float32; letters and labels keep their lengths."""
    states = torch.stack([example["states"] for example in examples]).float()
    letters = [example["letters"] for example in examples]
    return {"states": states, "letters": letters, "labels": [example["labels"] for example in examples]}


def align(connector: Connector, train: Dataset[Example], recipe: AlignRecipe, output: Path) -> Connector:
    """Trains the connector; a killed run goes on from its last checkpoint in `output`.

    The log (loss, learning rate, step) is `trainer_state.json` in the newest checkpoint.

    Raises:
        TrainingError: there is less speech than one step takes.
    """
    windows: int = len(train)  # type: ignore[arg-type]
    if (steps := windows // recipe.batch_size) == 0:
        raise TrainingError(
            f"There are {windows} windows of speech, but a step takes {recipe.batch_size}; make more shards or"
            " lower the batch size."
        )
    arguments = TrainingArguments(
        output_dir=str(output),
        num_train_epochs=recipe.epochs,
        learning_rate=recipe.learning_rate,
        lr_scheduler_type="cosine",
        warmup_steps=steps // 2,
        per_device_train_batch_size=recipe.batch_size,
        weight_decay=0.01,
        adam_beta2=0.98,
        max_grad_norm=1.0,
        bf16=True,
        use_cpu=not torch.cuda.is_available(),
        logging_steps=20,
        save_steps=max(1, steps // 2),
        save_total_limit=2,
        seed=recipe.seed,
        dataloader_drop_last=True,
        remove_unused_columns=False,
        report_to="none",
        dataloader_pin_memory=False,
    )
    trainer = Trainer(Alignment(connector), arguments, data_collator=collate, train_dataset=train)
    trainer.train(resume_from_checkpoint=last_checkpoint(output))
    return connector.eval()


def last_checkpoint(output: Path) -> str | None:
    """The newest checkpoint that was written to its end: the trainer's state is the last file of each."""
    whole = [state.parent for state in output.glob("checkpoint-*/trainer_state.json")]
    newest = max(whole, key=lambda folder: int(folder.name.rpartition("-")[2]), default=None)
    return None if newest is None else str(newest)


def _mask(batch: int, frames: int) -> Bool[Tensor, "batch frames"]:
    """False in random spans, as SpecAugment masks time."""
    starts = torch.randint(frames, (batch, MASKED_SPANS, 1))
    lengths = torch.randint(MASKED_FRAMES + 1, (batch, MASKED_SPANS, 1))
    at = torch.arange(frames)
    return ~((at >= starts) & (at < starts + lengths)).any(1)
