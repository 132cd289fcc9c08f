"""FastV: keeps the speech tokens that the prompt's last token attends to in one of the LLM's first layers."""

from dataclasses import dataclass

from jaxtyping import Int
from torch import Tensor
from typing_extensions import override

from auricle.pruning.attention import select_attended
from auricle.pruning.base import Rated, check_finite
from auricle.speech_lm import AudioTokens, Query, SpeechLM


@dataclass(frozen=True)
class FastV(Rated):
    """Drops, inside the LLM, what the last token of the prompt hardly attends to.

    "An Image is Worth 1/2 Tokens After Layer 2" (Chen et al. 2024, arXiv 2403.06764), section 4. All speech is read
    by the first `layer` layers; of the last of them, the attention of the prompt's last token is averaged over the
    heads. The tokens that receive most of it go on, at their positions.

    Differs from the paper: its text takes the attention that a token receives from all others in the mean; its
    authors' code, and that of all who compare with it, the last token's, as here. For speech instead of images.
    The counts are those that all methods here are compared at; the rate counts in tokens of the layers behind. The
    first layers run twice, once to choose and once to answer. All of the recording has to fit into the LLM's
    context.

    Attributes:
        pruning_rate: fraction to remove of the tokens of 30 s, 0 to 1; as many stay as with `SpeechPrune`.
        layer: the decoder layer before which tokens are dropped, from 1 on; the paper's K. With 1 the question has
            no say, since in the first layer the last token knows nothing but itself.
    """

    layer: int = 2

    @override
    def choose(self, tokens: AudioTokens, count: int, query: Query, lm: SpeechLM) -> Int[Tensor, "kept"]:
        check_finite(tokens, lm)
        prompt = lm.prompt(tokens, query)
        attended = lm.inside(prompt, self.layer).attention.mean(0)[prompt.audio]
        return select_attended(attended.cpu(), count)
