"""From a name, a folder or a loaded model to a `SpeechLM`."""

import sys
from collections.abc import Mapping
from inspect import Parameter, signature
from pathlib import Path
from typing import Any

import torch
import transformers
from torch import nn
from transformers import PreTrainedConfig

from auricle.errors import MissingDependencyError, ModelError, OptionError, UnprunableModelError
from auricle.registry import MODELS, find
from auricle.speech_lm import SpeechLM

MINI = ("mini", "auricle-mini")

# Models that make no run of speech tokens in the LLM's input that could be shortened, and why.
UNPRUNABLE: Mapping[str, str] = {
    "VoxtralRealtimeForConditionalGeneration": "it adds the audio to the text's embeddings step by step, so that"
    " there are no speech tokens of their own",
    "Gemma3nForConditionalGeneration": "every layer reads inputs made from token ids, which embeddings alone do not"
    " give",
    "Gemma4ForConditionalGeneration": "every layer may read inputs made from token ids, and its generate refuses"
    " embeddings",
    "Gemma4UnifiedForConditionalGeneration": "its generate refuses embeddings, and its mask needs the kind of every"
    " token",
    "KyutaiSpeechToTextForConditionalGeneration": "it reads one frame of codec ids with every token that it writes",
    "VibeVoiceAsrForConditionalGeneration": "its generate refuses embeddings",
    "GraniteSpeech5ForCTC": "it has no LLM, and writes what its encoder hears, frame by frame",
}

# Full models of which only one part reads speech and writes text; loading that part spares the memory of the rest.
_PARTS: Mapping[str, str] = {
    "Qwen2_5OmniModel": "Qwen2_5OmniThinkerForConditionalGeneration",
    "Qwen2_5OmniForConditionalGeneration": "Qwen2_5OmniThinkerForConditionalGeneration",
    "Qwen3OmniMoeForConditionalGeneration": "Qwen3OmniMoeThinkerForConditionalGeneration",
}

# Options of `from_pretrained` that say where files are; the configuration and the processor take them, too.
_HUB_OPTIONS = ("cache_dir", "force_download", "local_files_only", "proxies", "revision", "subfolder", "token")


def load(
    name_or_model: str | Path | nn.Module,
    processor: Any = None,  # noqa: ANN401
    *,
    dtype: torch.dtype | str | None = None,
    device: torch.device | str | None = None,
    device_map: str | Mapping[str, Any] | None = None,
    **kwargs: Any,  # noqa: ANN401
) -> SpeechLM:
    """Loads a Speech LLM.

    Args:
        name_or_model: a folder or a name on the Hugging Face hub, "mini" for auricle-mini, or a loaded model.
        processor: the model's processor; by default the one beside the model's weights. A loaded model needs it.
        dtype: of the weights, for example `torch.bfloat16`, "bfloat16" or "auto"; by default what `transformers`
            makes of it.
        device: where the whole model goes, for example "cuda".
        device_map: how `transformers` spreads the model over devices, for example "auto"; instead of `device`.
        kwargs: further options of `from_pretrained` (`revision`, `attn_implementation`, `quantization_config` ...).
            Models with code of their own (DiVA) need `trust_remote_code=True`.

    Raises:
        ModelError: there is no such model, it cannot be loaded, or a loaded model came without its processor.
        UnprunableModelError: the model's speech tokens cannot be dropped; the message says why.
        UnknownNameError: no adapter reads this architecture; the message lists those that are read.
        MissingDependencyError: the model needs a package that is not installed.
        OptionError: `dtype` or `device` is none, or options contradict each other.
    """
    where = {"dtype": _check_dtype(dtype), "device": _check_device(device), "device_map": device_map}
    given = {option: value for option, value in where.items() if value is not None} | kwargs
    if isinstance(name_or_model, nn.Module):
        if given:
            raise OptionError(f"The model is loaded already; leave out {', '.join(given)}.")
        return adapt(name_or_model, processor)
    if device is not None and device_map is not None:
        raise OptionError("Both device and device_map were given; choose one.")
    name = str(name_or_model)
    if name in MINI:
        return _load_mini(given)
    return _load_pretrained(name, processor, given)


def adapt(model: nn.Module, processor: Any = None) -> SpeechLM:  # noqa: ANN401
    """Wraps a loaded model into the adapter for its class, or for the class that it derives from.

    Raises:
        ModelError: the processor is missing.
        UnprunableModelError: the model's speech tokens cannot be dropped.
        UnknownNameError: no adapter reads this class.
    """
    known = (cls.__name__ for cls in type(model).__mro__ if cls.__name__ in MODELS or cls.__name__ in UNPRUNABLE)
    name = next(known, type(model).__name__)
    adapter = _adapter(name)
    if processor is None and signature(adapter).parameters["processor"].default is Parameter.empty:
        raise ModelError(f"{name} was given without its processor; call load(model, processor).")
    lm: SpeechLM = adapter(model, processor)
    return lm


def _load_mini(given: dict[str, Any]) -> SpeechLM:
    unknown = given.keys() - {"dtype", "device", "device_map"}
    if unknown:
        raise OptionError(f"auricle-mini has no option {', '.join(sorted(unknown))}.")
    from auricle.models.mini.adapter import AuricleMini

    if given.get("dtype") == "auto":
        del given["dtype"]
    lm: SpeechLM = AuricleMini.load(**given)
    return lm


def _load_pretrained(name: str, processor: Any, given: dict[str, Any]) -> SpeechLM:  # noqa: ANN401
    hub = {option: given[option] for option in _HUB_OPTIONS if option in given}
    config = _config(name, hub)
    architecture = (config.get("architectures") or [None])[0]
    if architecture is None:
        raise ModelError(
            f"The config.json of '{name}' names no architecture; expected one like {next(iter(MODELS))}."
        )
    adapter = _adapter(architecture)
    model_class = _model_class(_PARTS.get(architecture, architecture), adapter)
    trusted = {"trust_remote_code": bool(given.pop("trust_remote_code", False))}
    if model_class is None:
        if not trusted["trust_remote_code"]:
            raise ModelError(
                f"'{name}' ({architecture}) runs code that comes with its weights;"
                " pass trust_remote_code=True if you trust it."
            )
        model_class = transformers.AutoModel
    device = given.pop("device", None)
    try:
        model = model_class.from_pretrained(name, **given, **(trusted if trusted["trust_remote_code"] else {}))
        if device is not None:
            model = model.to(device)
        if processor is None and signature(adapter).parameters["processor"].default is Parameter.empty:
            auto: Any = transformers.AutoProcessor
            processor = auto.from_pretrained(name, **hub, **trusted)
    except ImportError as error:
        raise MissingDependencyError(f"'{name}' needs a package that is not installed: {_line(error)}") from error
    except Exception as error:  # whatever a damaged checkpoint, a wrong option or a full device makes them raise
        raise ModelError(f"'{name}' ({architecture}) cannot be loaded: {_line(error)}") from error
    lm: SpeechLM = adapter(model, processor)
    return lm


def _config(name: str, hub: dict[str, Any]) -> dict[str, Any]:
    """The plain config.json: reading it needs neither a known model type nor trust in code."""
    if name and Path(name).is_dir() and not (Path(name) / hub.get("subfolder", "") / "config.json").is_file():
        raise ModelError(f"The folder '{name}' holds no config.json; expected what save_pretrained writes.")
    try:
        config: dict[str, Any] = PreTrainedConfig.get_config_dict(name, **hub)[0]
    except (OSError, ValueError) as error:
        raise ModelError(
            f"There is no model '{name}': neither a folder, nor found on the Hugging Face hub or in its cache"
            f" (check the spelling, the network, and the access to gated models). {_line(error)}"
        ) from error
    if not config:
        raise ModelError(f"There is no model '{name}': no config.json was found; check the name.")
    return config


def _adapter(architecture: str) -> Any:  # noqa: ANN401
    if architecture in UNPRUNABLE:
        raise UnprunableModelError(
            f"{architecture} cannot be pruned: {UNPRUNABLE[architecture]}. Supported: {', '.join(MODELS)}."
        )
    return find(architecture, MODELS, "adapter for the architecture", "auricle.models")


def _model_class(architecture: str, adapter: Any) -> Any:  # noqa: ANN401
    """The class of that name in `transformers`, or else in the module of its adapter."""
    return getattr(transformers, architecture, None) or getattr(sys.modules[adapter.__module__], architecture, None)


def _check_dtype(dtype: torch.dtype | str | None) -> torch.dtype | str | None:
    if not isinstance(dtype, str) or dtype == "auto":
        return dtype
    found = getattr(torch, dtype.removeprefix("torch."), None)
    if not isinstance(found, torch.dtype):
        raise OptionError(f"There is no dtype '{dtype}'; expected for example 'bfloat16', 'float32' or 'auto'.")
    return found


def _check_device(device: torch.device | str | None) -> torch.device | None:
    try:
        return None if device is None else torch.device(device)
    except RuntimeError as error:
        raise OptionError(f"There is no device '{device}'; expected for example 'cpu' or 'cuda:0'.") from error


def _line(error: Exception) -> str:
    """The first line of a message, which often goes on for many."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
