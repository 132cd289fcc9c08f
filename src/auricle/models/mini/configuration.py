"""Configuration of auricle-mini."""

from typing import Any

from transformers import LlamaConfig, PretrainedConfig, WhisperConfig


class AuricleMiniConfig(PretrainedConfig):
    """Whisper, a connector and a Llama decoder.

    Attributes:
        pieces: Whisper's tokens in the order of their ids, as byte-level BPE writes them.
        prompt_ids: Whisper's tokens that ask for an English transcript without times.
        end_id: Whisper's token behind the last word.
        spellings: the LLM's tokens that speech is spelled with, as byte-level BPE writes them, and their ids.
        audio_token_id: the LLM's placeholder that speech tokens replace. Its own vector is zero, and it stays where
            none replaces it: it is silence.
    """

    model_type = "auricle_mini"
    sub_configs = {"audio_config": WhisperConfig, "text_config": LlamaConfig}  # noqa: RUF012 - transformers' attribute

    def __init__(
        self,
        audio_config: dict[str, Any] | WhisperConfig | None = None,
        text_config: dict[str, Any] | LlamaConfig | None = None,
        pieces: list[str] | None = None,
        spellings: dict[str, int] | None = None,
        *,
        prompt_ids: list[int] | None = None,
        end_id: int = 50257,
        audio_token_id: int = 6,
        connector_dim: int = 448,
        connector_layers: int = 2,
        **kwargs: Any,  # noqa: ANN401 - transformers' own options
    ) -> None:
        """All sizes have the defaults of the released model, except those of its two parts."""
        self.audio_config = _config(WhisperConfig, audio_config)
        self.text_config = _config(LlamaConfig, text_config)
        self.pieces = pieces or []
        self.spellings = spellings or {}
        self.prompt_ids = prompt_ids or []
        self.end_id = end_id
        self.audio_token_id = audio_token_id
        self.connector_dim = connector_dim
        self.connector_layers = connector_layers
        super().__init__(**kwargs)


def _config(kind: type[Any], given: dict[str, Any] | PretrainedConfig | None) -> Any:  # noqa: ANN401
    return (
        given if isinstance(given, kind) else kind(**{k: v for k, v in (given or {}).items() if k != "model_type"})
    )
