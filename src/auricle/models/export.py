"""The LLM inside a Speech LLM, by itself: for engines that read a prompt's vectors and know nothing of speech."""

from pathlib import Path
from typing import Any

from transformers import AutoModelForCausalLM, PreTrainedModel

from auricle.errors import ModelError, OptionError
from auricle.models.hugging_face import HuggingFaceSpeechLM
from auricle.speech_lm import SpeechLM


def export_llm(lm: SpeechLM, folder: Path) -> None:
    """Writes the LLM's weights, with its LoRA in them, its configuration and its tokenizer.

    Args:
        lm: a Speech LLM of transformers whose LLM is a causal language model by itself, as auricle-mini's.
        folder: new or empty.

    Raises:
        ModelError: the Speech LLM has no such LLM.
        OptionError: there is something in the folder.
    """
    if folder.exists() and any(folder.iterdir()):
        raise OptionError(f"There is something in '{folder}' already; name a new folder.")
    llm = llm_of(lm)
    if not isinstance(lm, HuggingFaceSpeechLM):  # `llm_of` has refused it
        return
    llm.generation_config.eos_token_id = lm.model.generation_config.eos_token_id
    llm.save_pretrained(folder)
    getattr(lm.processor, "tokenizer", lm.processor).save_pretrained(folder)


def llm_of(lm: SpeechLM) -> Any:  # noqa: ANN401
    """The causal language model inside.

    Raises:
        ModelError: there is none of a class that `AutoModelForCausalLM` loads.
    """
    inside = list(lm.model.modules())[1:] if isinstance(lm, HuggingFaceSpeechLM) else []
    for module in inside:
        if isinstance(module, PreTrainedModel) and _is_causal(module) and not hasattr(module, "peft_config"):
            return module
    raise ModelError(
        f"'{lm.name}' holds no LLM that could run by itself; expected a causal language model of transformers with"
        " weights of its own, as auricle-mini has."
    )


def _is_causal(module: PreTrainedModel) -> bool:
    known: Any = AutoModelForCausalLM._model_mapping
    config: Any = type(module.config)
    return config in known and isinstance(module, known[config])
