"""The one training loop: `transformers.Trainer` (and with it `accelerate`) with this project's defaults.

Resumable at every checkpoint with the same batches in the same order, bfloat16, batches of recordings of like
length, TensorBoard logs, and an end when the validation set gains no more. It runs in as many processes as
`accelerate launch` starts.
"""

import atexit
import json
import os
from abc import abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Generic, TypeVar

import torch
from accelerate import PartialState
from jaxtyping import Float
from torch import Tensor, nn
from torch.utils.data import Dataset, Sampler
from transformers import (
    Trainer,
    TrainerCallback,
    TrainerControl,
    TrainerState,
    TrainingArguments,
)
from transformers.trainer_pt_utils import get_length_grouped_indices
from typing_extensions import override

from auricle.errors import MissingDependencyError, OptionError, TrainingError

Item = TypeVar("Item")
Loss = Callable[[nn.Module, dict[str, Any]], Float[Tensor, ""]]


class Examples(Dataset[Item], Generic[Item]):
    """What is trained on. What is drawn at random depends on the epoch and the index alone, so that runs resume."""

    epoch: int = 0

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def __getitem__(self, index: int) -> Item: ...

    @property
    @abstractmethod
    def lengths(self) -> Sequence[int]:
        """Of every example, so that batches hold examples of like length."""


@dataclass(frozen=True)
class Schedule:
    """How long and how fast a model is trained.

    Attributes:
        epochs: passes over the training set at most.
        learning_rate: peak of a cosine with linear warm-up.
        batch_size: examples a process reads at a time.
        accumulation: batches a step.
        evaluations: of the validation set an epoch; a checkpoint is written with each.
        patience: evaluations without gain after which training ends; the best checkpoint is kept.
        seed: of every choice.
    """

    epochs: float
    learning_rate: float
    batch_size: int
    accumulation: int = 1
    evaluations: int = 4
    patience: int = 3
    seed: int = 0

    def __post_init__(self) -> None:
        """Checks the numbers.

        Raises:
            OptionError: one of them is too small.
        """
        for name in ("batch_size", "accumulation", "evaluations", "patience"):
            if getattr(self, name) < 1:
                raise OptionError(f"{name} is {getattr(self, name)}; expected at least 1.")
        for name in ("epochs", "learning_rate"):
            if getattr(self, name) < 0:
                raise OptionError(f"{name} is {getattr(self, name)}; expected 0 or more.")


def processes() -> PartialState:
    """All processes that were launched together; they may wait for each other as long as shards take to hear.

    Raises:
        MissingDependencyError: what training writes its logs with is not installed.
    """
    if find_spec("tensorboard") is None:
        raise MissingDependencyError("Training needs tensorboard; run pip install 'auricle[train]'.")
    _leave_in_the_end()
    return PartialState(cpu=not torch.cuda.is_available(), timeout=timedelta(days=1))


@cache
def _leave_in_the_end() -> None:
    """A process that ends without leaving its group may be aborted."""

    def leave() -> None:
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            torch.distributed.destroy_process_group()

    atexit.register(leave)


def fit(
    model: nn.Module,
    loss: Loss,
    train: Examples[Item],
    validation: Examples[Item],
    collate: Callable[[list[Item]], dict[str, Any]],
    output: Path,
    schedule: Schedule,
) -> None:
    """Trains a model in place and leaves it as it was best on the validation set; no epochs train nothing.

    Args:
        model: its parameters that require gradients are trained.
        loss: of a batch that `collate` made; calls the model once.
        train: what is learned.
        validation: what is never learned.
        collate: makes a batch of examples.
        output: checkpoints and logs; a killed run goes on from the last checkpoint there.
        schedule: how long and how fast.

    Raises:
        TrainingError: there are fewer examples than one step takes, or none to validate.
    """
    if schedule.epochs == 0:
        return
    taken = schedule.batch_size * schedule.accumulation
    if len(train) < taken or not len(validation):
        raise TrainingError(
            f"There are {len(train)} examples to train and {len(validation)} to validate on; a step takes {taken}."
            " Make more data, or lower the batch size."
        )
    trainer = _Trainer(
        model,
        _arguments(output, schedule, len(train)),
        data_collator=collate,
        train_dataset=train,
        eval_dataset=validation,
        callbacks=[_Epochs(train), _Patience(schedule.patience)],
    )
    trainer.loss_of_batch = loss
    trainer.model_accepts_loss_kwargs = False  # our loss is a mean: else that of accumulated batches would be a sum
    trainer.train(resume_from_checkpoint=last_checkpoint(output, processes().num_processes))
    trainer.accelerator.unwrap_model(model, keep_fp32_wrapper=False)
    model.eval()


def last_checkpoint(output: Path, processes: int = 1) -> str | None:
    """The newest checkpoint that all processes wrote to its end."""
    whole = [folder for folder in output.glob("checkpoint-*") if _is_whole(folder, processes)]
    newest = max(whole, key=lambda folder: int(folder.name.rpartition("-")[2]), default=None)
    return None if newest is None else str(newest)


def _is_whole(checkpoint: Path, processes: int) -> bool:
    """Whether the files that are written last are there: the trainer's state, and each process's random state."""
    random = ["rng_state.pth"] if processes == 1 else [f"rng_state_{rank}.pth" for rank in range(processes)]
    try:
        json.loads((checkpoint / "trainer_state.json").read_text())
    except (OSError, ValueError):
        return False
    return all((checkpoint / name).is_file() for name in random)


def _arguments(output: Path, schedule: Schedule, examples: int) -> TrainingArguments:
    """The trainer's options; evaluations and warm-up are counted in steps of all processes."""
    taken = schedule.batch_size * schedule.accumulation * processes().num_processes
    steps = max(1, examples // taken)
    interval = max(1, steps // schedule.evaluations)
    arguments = TrainingArguments(
        output_dir=str(output),
        num_train_epochs=schedule.epochs,
        learning_rate=schedule.learning_rate,
        lr_scheduler_type="cosine",
        warmup_steps=min(100, max(1, int(steps * schedule.epochs) // 10)),
        per_device_train_batch_size=schedule.batch_size,
        per_device_eval_batch_size=schedule.batch_size,
        gradient_accumulation_steps=schedule.accumulation,
        weight_decay=0.01,
        adam_beta2=0.98,
        max_grad_norm=1.0,
        bf16=True,
        use_cpu=not torch.cuda.is_available(),
        logging_steps=min(10, interval),
        eval_strategy="steps",
        eval_steps=interval,
        save_strategy="steps",
        save_steps=interval,
        save_total_limit=2,
        load_best_model_at_end=True,
        metric_for_best_model="eval_loss",
        greater_is_better=False,
        prediction_loss_only=True,
        seed=schedule.seed,
        remove_unused_columns=False,
        dataloader_pin_memory=False,
        # On a CPU they would take cores from the model; each has its own copy of what is drawn from.
        dataloader_num_workers=min(8, os.cpu_count() or 1) if torch.cuda.is_available() else 0,
        report_to="tensorboard",
    )
    arguments._n_gpu = min(arguments.n_gpu, 1)  # else one process with several GPUs would multiply the batch
    return arguments


class _Trainer(Trainer):
    """The trainer with a loss of ours, and batches of examples of like length."""

    loss_of_batch: Loss

    @override
    def compute_loss(
        self,
        model: nn.Module,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: Tensor | int | None = None,
    ) -> Tensor | tuple[Tensor, Any]:
        loss = self.loss_of_batch(model, inputs)
        return (loss, {}) if return_outputs else loss

    @override
    def prediction_step(
        self, model: nn.Module, inputs: dict[str, Any], prediction_loss_only: bool, ignore_keys: Any = None
    ) -> tuple[Tensor, None, None]:
        with torch.no_grad(), self.compute_loss_context_manager():
            return self.loss_of_batch(model, self._prepare_inputs(inputs)).detach(), None, None

    @override
    def _get_train_sampler(self, train_dataset: Any = None) -> Sampler[int]:
        del train_dataset
        examples: Any = self.train_dataset
        taken = self.args.train_batch_size * self.args.gradient_accumulation_steps
        return _LikeLengths(examples, taken, self.args.seed)


class _LikeLengths(Sampler[int]):
    """Examples of like length together, in an order that depends on the seed and the epoch alone.

    transformers' sampler takes it from the global random state, which a run that resumes in an epoch has not.
    """

    def __init__(self, examples: Examples[Any], taken: int, seed: int) -> None:
        self._examples = examples
        self._taken = taken
        self._seed = seed

    def __len__(self) -> int:
        return len(self._examples)

    @override
    def __iter__(self) -> Iterator[int]:
        generator = torch.Generator().manual_seed(self._seed + self._examples.epoch)
        indices: list[int] = get_length_grouped_indices(
            list(self._examples.lengths), self._taken, generator=generator
        )
        return iter(indices)


class _Epochs(TrainerCallback):
    """Tells the examples which epoch it is, also after a resumption."""

    def __init__(self, examples: Examples[Any]) -> None:
        self._examples = examples

    @override
    def on_epoch_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: object
    ) -> None:
        self._examples.epoch = int(state.epoch or 0)  # a checkpoint lies within an epoch


class _Patience(TrainerCallback):
    """Ends training after evaluations without gain, counted in the log, which every checkpoint keeps.

    transformers' own callback counts anew after a resumption.
    """

    def __init__(self, evaluations: int) -> None:
        self._evaluations = evaluations

    @override
    def on_evaluate(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: object
    ) -> None:
        losses = [one["eval_loss"] for one in state.log_history if "eval_loss" in one]
        if losses and len(losses) - 1 - losses.index(min(losses)) >= self._evaluations:
            control.should_training_stop = True

    @override
    def on_step_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: object
    ) -> None:
        self.on_evaluate(args, state, control)  # a run that had ended is not gone on with
