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
        ModelError: the Speech LLM has no such LLM, or its tokenizer does not fit it.
        OptionError: there is something in the folder.
    """
    if folder.exists() and any(folder.iterdir()):
        raise OptionError(f"There is something in '{folder}' already; name a new folder.")
    llm = llm_of(lm)
    if not isinstance(lm, HuggingFaceSpeechLM):  # `llm_of` has refused it
        return
    tokenizer: Any = getattr(lm.processor, "tokenizer", lm.processor)
    ends = lm.model.generation_config.eos_token_id
    _check_tokenizer(lm.name, tokenizer, ends, llm.config.vocab_size)
    llm.generation_config.eos_token_id = ends
    llm.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def llm_of(lm: SpeechLM) -> Any:  # noqa: ANN401
    """The causal language model inside.

    Raises:
        ModelError: there is none of a class that `AutoModelForCausalLM` loads.
    """
    inside = list(lm.model.modules())[1:] if isinstance(lm, HuggingFaceSpeechLM) and lm.plain else []
    for module in inside:
        if isinstance(module, PreTrainedModel) and _is_causal(module) and not _has_lora(module):
            return module
    raise ModelError(
        f"'{lm.name}' holds no LLM that could run by itself; expected a whole causal language model of"
        " transformers, with its head and without a LoRA beside its weights, as auricle-mini has."
    )


def _is_causal(module: PreTrainedModel) -> bool:
    known: Any = AutoModelForCausalLM._model_mapping
    config: Any = type(module.config)
    return config in known and isinstance(module, known[config])


def _has_lora(module: PreTrainedModel) -> bool:
    return any("lora_" in name for name, _ in module.named_parameters())


def _check_tokenizer(name: str, tokenizer: Any, ends: int | list[int] | None, vocabulary: int) -> None:  # noqa: ANN401
    """An engine ends an answer at the tokenizer's end, too, and decodes by the tokenizer alone."""
    known = ends if isinstance(ends, list) else [ends]
    if tokenizer.eos_token_id not in known:
        raise ModelError(
            f"The tokenizer of '{name}' ends a text by the token {tokenizer.eos_token_id}, its model an answer by"
            f" {ends}; set generation_config.eos_token_id so that vLLM ends where the model does."
        )
    if len(tokenizer) > vocabulary:
        raise ModelError(
            f"The tokenizer of '{name}' has {len(tokenizer)} tokens, its LLM only {vocabulary}; take the"
            " tokenizer that belongs to the model."
        )
