"""SpeechPrune: keeps the speech tokens that have to do with the question."""

from dataclasses import dataclass
from typing import Literal, get_args

from jaxtyping import Float, Int
from torch import Tensor
from typing_extensions import override

from auricle.errors import OptionError
from auricle.pruning.attention import binarized_attention, select_attended
from auricle.pruning.base import Rated, check_finite
from auricle.pruning.budget import window_tokens
from auricle.pruning.similarity import FramePool, relevance, select_similar
from auricle.speech_lm import AudioTokens, Positions, Query, SpeechLM

Phase = Literal["both", "similarity", "attention"]
QueryPart = Literal["question", "question+choices"]


@dataclass(frozen=True)
class SpeechPrune(Rated):
    """Training-free pruning by speech-text similarity and binarized first-layer attention.

    "SpeechPrune: Context-aware Token Pruning for Speech Information Retrieval", section 1.5. The first phase keeps
    the tokens of 30 s (K1), spread over one-second frames by their similarity to the question; the second keeps, of
    those, the ones that receive most binarized attention. Whatever the phases, `budget.kept` says how many stay in
    the end: round(min(N, K1) * (1 - pruning_rate)); at rate 1 none does.

    Differs from the paper: budgets that overflow a frame or get lost in rounding are handed on, so that the count
    is exact; attention is that received, since the printed mean is constant; ties go to the earlier token.
    `docs/speechprune.md` explains every choice.

    Attributes:
        pruning_rate: fraction to remove of what the first phase leaves, 0 to 1.
        phase: "both"; "similarity" lets the first phase choose the final count by its frame budgets; "attention"
            ranks all tokens of the recording by the second phase, in time quadratic in their number.
        frame_pool: a frame's relevance is the "sum" of its tokens' (the printed equation) or their "mean".
        positions: whether the LLM sees the kept tokens at consecutive positions ("renumber") or where they were.
        query: the text that speech is compared to; "question+choices" adds the choices, where there are any.
    """

    phase: Phase = "both"
    frame_pool: FramePool = "sum"
    positions: Positions = "renumber"
    query: QueryPart = "question"

    @override
    def __post_init__(self) -> None:
        """Checks every option.

        Raises:
            OptionError: an option has a value outside its range.
        """
        super().__post_init__()
        _check_one_of("phase", self.phase, get_args(Phase))
        _check_one_of("frame_pool", self.frame_pool, get_args(FramePool))
        _check_one_of("positions", self.positions, get_args(Positions))
        _check_one_of("query", self.query, get_args(QueryPart))

    @classmethod
    def paper(cls, pruning_rate: float = 0.6) -> "SpeechPrune":
        """The paper's method, whatever the defaults become; what it leaves open is set as the defaults are now."""
        return cls(pruning_rate, phase="both", frame_pool="sum", positions="renumber", query="question")

    @override
    def choose(self, tokens: AudioTokens, count: int, query: Query, lm: SpeechLM) -> Int[Tensor, "kept"]:
        rate = lm.tokens_per_second
        check_finite(tokens, lm)
        if self.phase == "attention":
            return select_attended(_attention(tokens.embeds, lm), count)
        text = self._text(query, lm).to(tokens.embeds.device)
        budget = count if self.phase == "similarity" else window_tokens(rate)
        similar = select_similar(relevance(tokens.embeds, text).cpu(), rate, budget, self.frame_pool)
        if len(similar) == count:
            return similar
        received = _attention(tokens.embeds[similar.to(tokens.embeds.device)], lm)
        return similar[select_attended(received, count)]

    def _text(self, query: Query, lm: SpeechLM) -> Float[Tensor, "text dim"]:
        if self.query == "question+choices" and query.choices:
            return lm.query("\n".join([query.text, *query.choices])).embeds
        return query.embeds


def _attention(S: Float[Tensor, "audio dim"], lm: SpeechLM) -> Float[Tensor, "audio"]:
    qk = lm.first_layer_qk()
    return binarized_attention(S.to(qk.w_q.device), qk).cpu()


def _check_one_of(option: str, value: str, values: tuple[str, ...]) -> None:
    if value not in values:
        raise OptionError(f"The option {option} is '{value}'; expected one of: {', '.join(values)}.")
