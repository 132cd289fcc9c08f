"""The trained half of auricle-mini's hearing: Whisper's top layers, tuned, and the connector."""

from typing import final

from jaxtyping import Float
from torch import Tensor, nn

from auricle.models.mini.modeling import AuricleMiniForConditionalGeneration

TRAINED_LAYERS = 2  # of the encoder, at its top; those below are Whisper's own


@final
class Ear(nn.Module):
    """Shares the parts of a model, so that what is loaded or trained here is there."""

    def __init__(self, model: AuricleMiniForConditionalGeneration) -> None:
        """Takes the encoder's top layers, its last norm and the connector."""
        super().__init__()
        self.layers = model.audio_tower.layers[-TRAINED_LAYERS:]
        self.layer_norm = model.audio_tower.layer_norm
        self.connector = model.connector

    def forward(self, states: Float[Tensor, "batch frames encoder_dim"]) -> Float[Tensor, "batch audio classes"]:
        """CTC logits over the pieces from the states below the trained layers."""
        return self.both(states)[0]

    def both(
        self, states: Float[Tensor, "batch frames encoder_dim"]
    ) -> tuple[Float[Tensor, "batch audio classes"], Float[Tensor, "batch halves letters"]]:
        """CTC logits over the pieces and over the letters."""
        return self.connector.both(self.lift(states))

    def lift(self, states: Float[Tensor, "batch frames encoder_dim"]) -> Float[Tensor, "batch frames encoder_dim"]:
        """The encoder's last states from those below the trained layers."""
        for layer in self.layers:
            states = layer(states, None)
        lifted: Tensor = self.layer_norm(states)
        return lifted
