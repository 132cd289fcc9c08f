"""From Whisper's 50 Hz states to pieces of the LLM's vocabulary at 12.5 Hz, aligned by CTC.

Relatives: LegoSLM (posteriors over the LLM's vocabulary), SLAM-ASR (frozen encoder and LLM), FastLongSpeech (CTC
units).
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - its usual name

STRIDE = 4  # encoder frames (50 Hz) per speech token (12.5 Hz)
ALPHABET = " abcdefghijklmnopqrstuvwxyz'"
LETTERS = len(ALPHABET)
DROPOUT = 0.1


class Norm(nn.Module):
    """Layer normalization over the channels of each frame."""

    def __init__(self, dim: int) -> None:
        """Of `dim` channels."""
        super().__init__()
        self.norm = nn.LayerNorm(dim)

    def forward(self, x: Float[Tensor, "batch dim frames"]) -> Float[Tensor, "batch dim frames"]:
        """Keeps the shape."""
        normed: Tensor = self.norm(x.transpose(1, 2))
        return normed.transpose(1, 2)


class Residual(nn.Module):
    """A convolution over five frames and one over channels, normalized before, added to what came in."""

    def __init__(self, dim: int) -> None:
        """Keeps the number of channels and frames."""
        super().__init__()
        self.block = nn.Sequential(
            Norm(dim),
            nn.Conv1d(dim, dim, 5, padding=2),
            nn.GELU(),
            nn.Conv1d(dim, dim, 1),
            nn.Dropout(DROPOUT),
        )

    def forward(self, x: Float[Tensor, "batch dim frames"]) -> Float[Tensor, "batch dim frames"]:
        """Adds what the convolutions find."""
        found: Tensor = self.block(x)
        return x + found


class Connector(nn.Module):
    """Pieces at 12.5 Hz by convolutions over the encoder's states.

    Half-way, at 25 Hz, a second output writes letters. Only training reads it: sounds are letters long before they
    are pieces, so that CTC leaves its plateau of blanks at once (`bench/LOG.md`).
    """

    def __init__(self, *, encoder_dim: int, dim: int, layers: int, pieces: int) -> None:
        """Builds the net.

        Args:
            encoder_dim: width of the speech encoder's states.
            dim: width of the convolutions.
            layers: residual convolutions at 25 Hz, and as many at 12.5 Hz.
            pieces: number of pieces; output `pieces` is the blank.
        """
        super().__init__()
        self.lower = nn.Sequential(
            Norm(encoder_dim),
            nn.Conv1d(encoder_dim, dim, 4, stride=2, padding=1),
            *(Residual(dim) for _ in range(layers)),
            Norm(dim),
        )
        self.letters = nn.Conv1d(dim, LETTERS + 1, 1)
        self.upper = nn.Sequential(
            nn.Conv1d(dim, dim, 4, stride=2, padding=1),
            *(Residual(dim) for _ in range(layers)),
            Norm(dim),
            nn.Conv1d(dim, pieces + 1, 1),
        )

    def forward(self, states: Float[Tensor, "batch frames encoder_dim"]) -> Float[Tensor, "batch audio classes"]:
        """Logits over the pieces and, last, the blank; a quarter as many frames."""
        return self.both(states)[0]

    def both(
        self, states: Float[Tensor, "batch frames encoder_dim"]
    ) -> tuple[Float[Tensor, "batch audio classes"], Float[Tensor, "batch halves letters"]]:
        """Logits over the pieces, and at twice as many frames over `ALPHABET`; blanks are last."""
        lower: Tensor = self.lower(states.transpose(1, 2))
        return self.upper(lower).transpose(1, 2), self.letters(lower).transpose(1, 2)


def greedy(logits: Float[Tensor, "audio classes"]) -> list[int]:
    """Best CTC path: the best class of each frame, repetitions merged, blanks dropped."""
    best = torch.unique_consecutive(logits.argmax(-1)).tolist()
    blank = logits.shape[-1] - 1
    return [index for index in best if index != blank]


def ctc_loss(logits: list[Float[Tensor, "_ classes"]], targets: list[Int[Tensor, "_"]]) -> Float[Tensor, ""]:
    """CTC loss per label (Graves et al. 2006) of sequences of any lengths, averaged over all their labels.

    A sequence with more labels than frames counts as zero.
    """
    padded = nn.utils.rnn.pad_sequence(logits).float()
    frames = torch.tensor([len(each) for each in logits])
    lengths = torch.tensor([len(labels) for labels in targets])
    blank = padded.shape[-1] - 1
    total: Tensor = F.ctc_loss(
        padded.log_softmax(-1), torch.cat(targets), frames, lengths, blank, reduction="sum", zero_infinity=True
    )
    return total / lengths.sum()
