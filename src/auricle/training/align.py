"""Stage one: the connector learns to hear, by CTC over pieces of the LLM's vocabulary, without running the LLM."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import TypedDict

import torch
from jaxtyping import Bool, Float, Int
from safetensors import safe_open
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.utils.data import Dataset
from tqdm.auto import tqdm
from transformers import Trainer, TrainingArguments

from auricle.audio import WINDOW_SECONDS
from auricle.errors import TrainingError
from auricle.models.mini.connector import ALPHABET, Connector, ctc_loss
from auricle.models.mini.ear import Ear
from auricle.models.mini.pieces import Pieces, normalize
from auricle.training.speech import load_shard, save_shard
from auricle.training.voicing import Said

# Of the encoder's 50 Hz states, in spans of up to 0.4 s: a word is learned from its neighbours too.
MASKED_SHARE, MASKED_FRAMES = 0.2, 20

LETTERS_WEIGHT = 2.0


@dataclass(frozen=True)
class AlignRecipe:
    """How the ear is trained: the connector alone, then together with the encoder's top layers.

    Attributes:
        connector_epochs: passes over the speech with the encoder frozen.
        epochs: passes with its top layers trained, each four times as long.
        connector_learning_rate: peak of the first schedule (linear warm-up, cosine to zero).
        learning_rate: peak of the second.
        batch_size: windows of 30 s per step.
        seed: of the order and of the masks.
    """

    connector_epochs: float = 4
    epochs: float = 1.25
    connector_learning_rate: float = 1.5e-3
    learning_rate: float = 1e-4
    batch_size: int = 4
    seed: int = 0


@dataclass(frozen=True)
class Target:
    """A sentence of a window: where it ends, in seconds, and what is to be heard in it."""

    end: float
    letters: Int[Tensor, "letters"]
    pieces: Int[Tensor, "pieces"]


class Example(TypedDict):
    """One window: its states below the trained layers, and the sentences that are spoken in it."""

    states: Float[Tensor, "frames encoder_dim"]
    targets: list[Target]


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
        self._said = [[said for recording in load_shard(path) for said in recording.windows] for path in paths]
        self._starts = [0, *accumulate(map(len, self._said))]

    def __len__(self) -> int:
        return self._starts[-1]

    def __getitem__(self, index: int) -> Example:
        shard = next(i for i, start in enumerate(self._starts[1:]) if index < start)
        row = index - self._starts[shard]
        targets = [self._target(said) for said in self._said[shard][row]]
        return {"states": self._files[shard][row : row + 1][0], "targets": targets}

    def _target(self, said: Said) -> Target:
        text = normalize(said.text)
        letters = torch.tensor([ALPHABET.index(letter) for letter in text])
        return Target(said.end, letters, torch.tensor(self._pieces.encode(text)))


class Alignment(nn.Module):
    """An ear, or its connector on states that were lifted before, with the training loss."""

    def __init__(self, part: Ear | Connector) -> None:
        """Wraps `part`, whose weights are trained in place."""
        super().__init__()
        self.part = part

    def forward(
        self, states: Float[Tensor, "batch frames encoder_dim"], targets: list[list[Target]]
    ) -> dict[str, Tensor]:
        """CTC loss per piece plus `LETTERS_WEIGHT` times that per letter."""
        if self.training:
            states = states * mask(states.shape[0], states.shape[1]).to(states.device)[..., None]
        pieces, letters = self.part.both(states)
        loss = sentence_loss(pieces, [[(one.end, one.pieces) for one in row] for row in targets])
        loss = loss + LETTERS_WEIGHT * sentence_loss(
            letters, [[(one.end, one.letters) for one in row] for row in targets]
        )
        return {"loss": loss}


def sentence_loss(
    logits: Float[Tensor, "batch steps classes"], targets: list[list[tuple[float, Int[Tensor, "_"]]]]
) -> Float[Tensor, ""]:
    """CTC loss per label, sentence by sentence: it is known when each ends, so that it need not be found.

    Args:
        logits: of windows of 30 s.
        targets: of each window, the sentences' ends in seconds and their labels. The last one takes all that is
            left.
    """
    rate = logits.shape[1] / WINDOW_SECONDS
    parts, labels = list[Tensor](), list[Tensor]()
    for row, sentences in zip(logits, targets, strict=True):
        ends = [min(round(end * rate), len(row)) for end, _ in sentences[:-1]] + [len(row)]
        parts += [row[start:end] for start, end in zip([0, *ends], ends, strict=False)]
        labels += [label.to(logits.device) for _, label in sentences]
    return ctc_loss(parts, labels)


def collate(examples: list[Example]) -> dict[str, object]:
    """Stacks the states of a batch in float32."""
    states = torch.stack([example["states"] for example in examples]).float()
    return {"states": states, "targets": [example["targets"] for example in examples]}


@torch.inference_mode()
def lift(ear: Ear, folder: Path, lifted: Path) -> None:
    """Writes the encoder's last states for every shard of `folder`, as far as they are not in `lifted` yet."""
    lifted.mkdir(parents=True, exist_ok=True)
    dtype = next(ear.parameters()).dtype
    for path in tqdm(sorted(folder.glob("speech-*.safetensors")), desc="lifting (shards)"):
        if not (lifted / path.name).exists():
            states = [ear.lift(window[None].to(dtype))[0] for window in load_file(path)["states"]]
            save_shard(lifted / path.name, torch.stack(states).bfloat16(), load_shard(path))


def align(
    part: Ear | Connector,
    train: Dataset[Example],
    output: Path,
    *,
    epochs: float,
    learning_rate: float,
    batch_size: int,
    seed: int,
) -> None:
    """Trains a part in place; a killed run goes on from its last checkpoint in `output`. No epochs train nothing.

    The log (loss, learning rate, step) is `trainer_state.json` in the newest checkpoint.

    Raises:
        TrainingError: there is less speech than one step takes.
    """
    if epochs == 0:
        return
    windows: int = len(train)  # type: ignore[arg-type]
    if (steps := windows // batch_size) == 0:
        raise TrainingError(
            f"There are {windows} windows of speech, but a step takes {batch_size}; make more shards or"
            " lower the batch size."
        )
    arguments = TrainingArguments(
        output_dir=str(output),
        num_train_epochs=epochs,
        learning_rate=learning_rate,
        lr_scheduler_type="cosine",
        warmup_steps=min(100, steps // 2),
        per_device_train_batch_size=batch_size,
        weight_decay=0.01,
        adam_beta2=0.98,
        max_grad_norm=1.0,
        bf16=True,
        use_cpu=not torch.cuda.is_available(),
        logging_steps=20,
        save_steps=max(1, steps // 2),
        save_total_limit=2,
        seed=seed,
        dataloader_drop_last=True,
        remove_unused_columns=False,
        report_to="none",
        dataloader_pin_memory=False,
    )
    trainer = Trainer(Alignment(part), arguments, data_collator=collate, train_dataset=train)
    trainer.train(resume_from_checkpoint=last_checkpoint(output))
    part.eval()


def last_checkpoint(output: Path) -> str | None:
    """The newest checkpoint that was written to its end: the trainer's state is the last file of each."""
    whole = [state.parent for state in output.glob("checkpoint-*/trainer_state.json")]
    newest = max(whole, key=lambda folder: int(folder.name.rpartition("-")[2]), default=None)
    return None if newest is None else str(newest)


def mask(batch: int, frames: int, generator: torch.Generator | None = None) -> Bool[Tensor, "batch frames"]:
    """False in random spans, `MASKED_SHARE` of all frames before they overlap, as SpecAugment masks time."""
    spans = round(MASKED_SHARE * frames / (MASKED_FRAMES / 2))
    starts = torch.randint(frames, (batch, spans, 1), generator=generator)
    lengths = torch.randint(MASKED_FRAMES + 1, (batch, spans, 1), generator=generator)
    at = torch.arange(frames)
    return ~((at >= starts) & (at < starts + lengths)).any(1)
