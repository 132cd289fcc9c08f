"""From Whisper's 50 Hz states to 12.5 Hz vectors in the LLM's input space, aligned by CTC.

Each output frame is a distribution over pieces of the LLM's vocabulary and a blank, and the speech token is the
expected embedding under it, so that a sure frame is exactly the vector that the LLM knows for that piece.

Relatives: LegoSLM (posteriors times the LLM's embedding table), SLAM-ASR (frozen encoder and LLM),
FastLongSpeech (CTC units).
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - its usual name

STRIDE = 4  # encoder frames (50 Hz) per speech token (12.5 Hz)


class Connector(nn.Module):
    """Two strided convolutions, a few self-attention layers, and a softmax over pieces and a blank."""

    def __init__(
        self,
        *,
        encoder_dim: int,
        dim: int,
        layers: int,
        heads: int,
        llm_dim: int,
        pieces: int,
    ) -> None:
        """Builds the net.

        Args:
            encoder_dim: width of the speech encoder's states.
            dim: width of the connector.
            layers: self-attention layers.
            heads: attention heads of each.
            llm_dim: width of the LLM.
            pieces: number of pieces; output `pieces` is the blank.
        """
        super().__init__()
        self.narrow = nn.Conv1d(encoder_dim, dim, 3, stride=2, padding=1)
        self.narrower = nn.Conv1d(dim, dim, 3, stride=2, padding=1)
        layer = nn.TransformerEncoderLayer(
            dim, heads, 3 * dim, dropout=0.0, activation="gelu", batch_first=True, norm_first=True
        )
        self.layers = nn.TransformerEncoder(layer, layers, nn.LayerNorm(dim), enable_nested_tensor=False)
        self.head = nn.Linear(dim, pieces + 1)
        self.blank = nn.Parameter(torch.zeros(llm_dim))

    def forward(self, states: Float[Tensor, "batch frames encoder_dim"]) -> Float[Tensor, "batch audio classes"]:
        """Logits over the pieces and, last, the blank; a quarter as many frames."""
        narrow = F.gelu(self.narrow(states.transpose(1, 2)))
        narrow = F.gelu(self.narrower(narrow)).transpose(1, 2)
        logits: Tensor = self.head(self.layers(narrow))
        return logits

    def embed(
        self, logits: Float[Tensor, "batch audio classes"], table: Float[Tensor, "pieces dim"]
    ) -> Float[Tensor, "batch audio dim"]:
        """Expected embedding of each frame.

        Args:
            logits: of `forward`.
            table: the LLM's input embeddings of the pieces.
        """
        rows = torch.cat([table, self.blank[None].to(table)])
        return logits.float().softmax(-1).to(rows) @ rows


def greedy(logits: Float[Tensor, "audio classes"]) -> list[int]:
    """Best CTC path: the best class of each frame, repetitions merged, blanks dropped."""
    best = torch.unique_consecutive(logits.argmax(-1)).tolist()
    blank = logits.shape[-1] - 1
    return [index for index in best if index != blank]


def ctc_loss(
    logits: Float[Tensor, "batch audio classes"], targets: list[Int[Tensor, "labels"]]
) -> Float[Tensor, ""]:
    """Mean over the batch of the CTC loss per label (Graves et al. 2006)."""
    log_probs = logits.float().log_softmax(-1).transpose(0, 1)
    frames = torch.full((len(targets),), log_probs.shape[0], dtype=torch.long)
    lengths = torch.tensor([len(labels) for labels in targets])
    return F.ctc_loss(
        log_probs, torch.cat(targets), frames, lengths, blank=logits.shape[-1] - 1, zero_infinity=True
    )
