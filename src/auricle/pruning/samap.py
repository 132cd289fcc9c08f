"""SA-MAP: merges neighbouring speech tokens that are alike, then keeps runs that are relevant and diverse."""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor
from typing_extensions import override

from auricle.errors import OptionError
from auricle.pruning.budget import window_tokens
from auricle.pruning.merging import Merge, Merger
from auricle.pruning.neighbours import at_first, directions
from auricle.pruning.received import attention, in_windows
from auricle.speech_lm import AudioTokens, SpeechLM

_SMALLEST = 1e-20  # weight, so that every run has a mean
_PRECISION = 1e-12  # of the gains, relative to the largest


@dataclass(frozen=True)
class SAMAP(Merger):
    """Similarity-attention merging and pruning.

    "SA-MAP" (preprints.org 202606.0741), as its authors' code has it. In every window of 30 s, a token joins the
    run before it while its mean cosine with that run is at least `threshold`; a run becomes the mean of its tokens,
    weighted by the attention that they receive, the highest over heads. Where more runs are left than should be,
    those are chosen that span most by their directions and relevances (the mean attention of their tokens to
    themselves): the greedy maximum of a determinantal point process. Where fewer are left, the least similar joins
    are undone.

    Differs from the authors' code: attention is that of `auricle.pruning.received`, not the speech encoder's.

    Attributes:
        threshold: the mean cosine from which on a token joins, -1 to 1.
    """

    threshold: float = 0.85

    @override
    def __post_init__(self) -> None:
        """Checks the options.

        Raises:
            OptionError: one of them is outside its range.
        """
        super().__post_init__()
        if not -1 <= self.threshold <= 1:
            raise OptionError(f"threshold is {self.threshold}; expected a cosine from -1 to 1.")

    @override
    def merge(self, tokens: AudioTokens, count: int, lm: SpeechLM) -> Merge:
        qk = lm.first_layer_qk()

        def window(S: Float[Tensor, "audio dim"], most: int) -> Merge:
            return self._window(S.cpu(), attention(S, qk).cpu(), most)

        return in_windows(tokens.embeds, window_tokens(lm.tokens_per_second), count, window)

    def _window(
        self, S: Float[Tensor, "audio dim"], attended: Float[Tensor, "heads audio audio"], count: int
    ) -> Merge:
        if not count:
            return Merge(torch.full((len(S),), -1), torch.ones(len(S)))
        run, joined = joins(directions(S), self.threshold)
        weights = attended.amax(0).mean(0).clamp(min=_SMALLEST)
        groups = int(run[-1]) + 1
        merge = at_first(run, weights)
        if groups <= count:
            freed = joined.argsort(stable=True)[: count - groups]
            into = merge.into.clone()
            into[freed] = freed
            return Merge(into, weights)
        relevance = torch.zeros(groups).index_add_(0, run, attended.mean(0).diagonal()) / run.bincount()
        chosen = diverse(directions(merge.embeds(S)), relevance, count)
        stays = torch.zeros(groups, dtype=torch.bool)
        stays[chosen] = True
        return Merge(torch.where(stays[run], merge.into, -1), weights)


def joins(
    units: Float[Tensor, "audio directions"], threshold: float
) -> tuple[Int[Tensor, "audio"], Float[Tensor, "audio"]]:
    """The number of each token's run, and the mean cosine by which it joined; infinite for a run's first token."""
    run, joined = torch.zeros(len(units), dtype=torch.long), torch.full((len(units),), torch.inf)
    total, size = units[0].clone(), 1
    for at in range(1, len(units)):
        alike = float(units[at] @ total) / size
        if alike >= threshold:
            run[at], joined[at] = run[at - 1], alike
            total, size = total + units[at], size + 1
        else:
            run[at] = run[at - 1] + 1
            total, size = units[at].clone(), 1
    return run, joined


def diverse(
    units: Float[Tensor, "groups directions"], relevance: Float[Tensor, "groups"], count: int
) -> Int[Tensor, "kept"]:
    """The greedy maximum of a determinantal point process (Chen et al. 2018, algorithm 1), sorted.

    Its kernel is relevance x cosine x relevance: each step takes the group that adds most to the volume that the
    chosen ones span. When none adds to it any more, the most relevant of the others follow.
    """
    kernel = relevance.double()[:, None] * (units @ units.T).double() * relevance.double()
    gain = kernel.diagonal().clone()
    least = float(gain.max()) * _PRECISION
    basis = torch.zeros(count, len(units), dtype=torch.double)
    chosen: list[int] = []
    for step in range(count):
        best = int(gain.argmax())
        if not gain[best] > least:
            break
        chosen.append(best)
        basis[step] = (kernel[best] - basis[:step, best] @ basis[:step]) / gain[best].sqrt()
        gain = gain - basis[step].square()
        gain[chosen] = -torch.inf
    others = [at for at in relevance.argsort(descending=True, stable=True).tolist() if at not in set(chosen)]
    return torch.tensor(sorted(chosen + others[: count - len(chosen)]))
