"""From Whisper's 50 Hz states to letters at 25 Hz, aligned by CTC: when what is said.

Relatives: Watanabe et al. 2017, "Hybrid CTC/Attention Architecture for End-to-End Speech Recognition" (CTC keeps an
attention decoder on the track of time); LegoSLM and FastLongSpeech (CTC between encoder and LLM).
"""

import re

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - its usual name

STRIDE = 2  # encoder frames (50 Hz) per frame of letters (25 Hz)
ALPHABET = " abcdefghijklmnopqrstuvwxyz'"
LETTERS = len(ALPHABET)  # also the index of the blank
DROPOUT = 0.1
_WORD = re.compile(r"[a-z']+")


def normalize(text: str) -> str:
    """Lower-case words and apostrophes, one space between words: all of a text that is in the alphabet."""
    return " ".join(word for word in _WORD.findall(text.lower().replace("\u2019", "'")) if word.strip("'"))


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
    """Letters at 25 Hz by convolutions over the encoder's states."""

    def __init__(self, *, encoder_dim: int, dim: int, layers: int) -> None:
        """Builds the net.

        Args:
            encoder_dim: width of the speech encoder's states.
            dim: width of the convolutions.
            layers: residual convolutions.
        """
        super().__init__()
        self.net = nn.Sequential(
            Norm(encoder_dim),
            nn.Conv1d(encoder_dim, dim, 4, stride=STRIDE, padding=1),
            *(Residual(dim) for _ in range(layers)),
            Norm(dim),
            nn.Conv1d(dim, LETTERS + 1, 1),
        )

    def forward(self, states: Float[Tensor, "batch frames encoder_dim"]) -> Float[Tensor, "batch halves letters"]:
        """Logits over `ALPHABET` and, last, the blank."""
        logits: Tensor = self.net(states.transpose(1, 2))
        return logits.transpose(1, 2)


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
