"""The LLM inside a Speech LLM, by itself: for engines that read a prompt's vectors and know nothing of speech."""

import copy
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import AutoModelForCausalLM

from auricle.errors import ModelError, OptionError
from auricle.models.hugging_face import HuggingFaceSpeechLM
from auricle.speech_lm import SpeechLM


def export_llm(lm: SpeechLM, folder: Path) -> None:
    """Writes the LLM's weights, with what was merged into them, its configuration and its tokenizer.

    Args:
        lm: a Speech LLM of transformers whose decoder is that of a causal language model, as auricle-mini's Llama.
        folder: new or empty.

    Raises:
        ModelError: its decoder is none that transformers and vLLM know by itself, or its tokenizer does not fit.
        OptionError: there is something in the folder.
    """
    if folder.exists() and not (folder.is_dir() and not any(folder.iterdir())):
        raise OptionError(f"There is something in '{folder}' already; name a new folder.")
    if not (isinstance(lm, HuggingFaceSpeechLM) and lm.plain):
        raise ModelError(
            f"The LLM of '{lm.name}' does more with speech than to read its vectors, so that it cannot run by"
            " itself; serve this model with --engine local."
        )
    llm = _causal(lm)
    tokenizer: Any = getattr(lm.processor, "tokenizer", lm.processor)
    ends = lm.model.generation_config.eos_token_id
    _check_tokenizer(lm.name, tokenizer, ends, llm.config.vocab_size)
    llm.generation_config = copy.deepcopy(lm.model.generation_config)
    llm.config.eos_token_id = ends
    llm.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    for file in folder.iterdir():
        file.chmod(0o644)  # safetensors' files are for their owner only


def _causal(lm: HuggingFaceSpeechLM) -> Any:  # noqa: ANN401 - of whichever class
    """The causal language model of transformers that decoder and head make; the weights are not copied."""
    decoder, head = lm.model.get_decoder(), lm.model.get_output_embeddings()
    known: Any = AutoModelForCausalLM._model_mapping
    kind = known.get(type(decoder.config), None)
    # Phi-4-multimodal passes for a causal language model, with its ear in its decoder.
    if kind is None or hasattr(decoder.config, "audio_config") or not isinstance(head, nn.Linear):
        raise _no_causal(lm, type(decoder).__name__)
    config = copy.deepcopy(decoder.config)
    config.tie_word_embeddings = head.weight is lm.model.get_input_embeddings().weight
    config.dtype = head.weight.dtype
    with torch.device("meta"):
        llm = kind(config)
    expected = _shapes(llm)
    setattr(llm, llm.base_model_prefix, decoder)
    llm.set_output_embeddings(head)
    if _shapes(llm) != expected:
        raise _no_causal(lm, type(decoder).__name__)
    return llm.eval()


def _shapes(model: nn.Module) -> dict[str, torch.Size]:
    return {name: weight.shape for name, weight in model.state_dict().items()}


def _no_causal(lm: HuggingFaceSpeechLM, decoder: str) -> ModelError:
    return ModelError(
        f"The decoder of '{lm.name}', {decoder}, is not that of a causal language model of transformers (or has a"
        " LoRA beside its weights); expected one as auricle-mini has. Serve this model with --engine local."
    )


def _check_tokenizer(name: str, tokenizer: Any, ends: int | list[int] | None, vocabulary: int) -> None:  # noqa: ANN401
    """An engine ends an answer at the tokenizer's end, too."""
    known = ends if isinstance(ends, list) else [ends]
    if ends is None or tokenizer.eos_token_id not in known:
        raise ModelError(
            f"The tokenizer of '{name}' ends a text by the token {tokenizer.eos_token_id}, its model an answer by"
            f" {ends}; set generation_config.eos_token_id so that vLLM ends where the model does."
        )
    if len(tokenizer) > vocabulary:
        raise ModelError(
            f"The tokenizer of '{name}' has {len(tokenizer)} tokens, its LLM only {vocabulary}; take the"
            " tokenizer that belongs to the model."
        )
