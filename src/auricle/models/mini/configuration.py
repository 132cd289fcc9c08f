"""Configuration of auricle-mini."""

from typing import Any

from transformers import LlamaConfig, PretrainedConfig, WhisperConfig


class AuricleMiniConfig(PretrainedConfig):
    """A Whisper encoder, a connector and a Llama decoder.

    Attributes:
        piece_ids: the LLM's token id of each of the connector's outputs.
        spellings: the LLM's tokens that letters can spell, as byte-level BPE writes them, and their ids; the pieces
            are among them.
        blank_id: the LLM's token for a frame in which no token begins.
        audio_token_id: the placeholder that speech tokens replace.
    """

    model_type = "auricle_mini"
    sub_configs = {"audio_config": WhisperConfig, "text_config": LlamaConfig}  # noqa: RUF012 - transformers' attribute

    def __init__(
        self,
        audio_config: dict[str, Any] | WhisperConfig | None = None,
        text_config: dict[str, Any] | LlamaConfig | None = None,
        piece_ids: list[int] | None = None,
        spellings: dict[str, int] | None = None,
        *,
        blank_id: int = 216,
        audio_token_id: int = 6,
        connector_dim: int = 448,
        connector_layers: int = 2,
        **kwargs: Any,  # noqa: ANN401 - transformers' own options
    ) -> None:
        """All sizes have the defaults of the released model, except those of its two parts."""
        self.audio_config = _config(WhisperConfig, audio_config)
        self.text_config = _config(LlamaConfig, text_config)
        self.piece_ids = piece_ids or []
        self.spellings = spellings or {}
        self.blank_id = blank_id
        self.audio_token_id = audio_token_id
        self.connector_dim = connector_dim
        self.connector_layers = connector_layers
        super().__init__(**kwargs)


def _config(kind: type[Any], given: dict[str, Any] | PretrainedConfig | None) -> Any:  # noqa: ANN401
    return (
        given if isinstance(given, kind) else kind(**{k: v for k, v in (given or {}).items() if k != "model_type"})
    )
