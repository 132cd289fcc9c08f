"""FastLongSpeech's iterative fusion: neighbouring speech tokens that are alike become one, half as many a round."""

from dataclasses import dataclass

from typing_extensions import override

from auricle.pruning.merging import Merge, Merger
from auricle.pruning.neighbours import Rounds, runs, similarities
from auricle.speech_lm import AudioTokens, SpeechLM


@dataclass(frozen=True)
class FastLongSpeech(Merger):
    """Iterative fusion, without the paper's training and without its content density.

    "FastLongSpeech: Enhancing Large Speech-Language Models for Efficient Long-Speech Processing" (Guo et al. 2025,
    arXiv 2507.14815), section 3.2, equations 3 to 6. Each round joins the most similar neighbours, in runs of any
    length, to half as many tokens, or to the final count where that is more; a run becomes the mean of its tokens.

    Differs from the paper: the tokens after the projector; every token has the same content density, since other
    Speech LLMs have no CTC head to tell it (the paper's ablation "w/o content density"); and the LLM was not
    trained to read what is fused.
    """

    @override
    def merge(self, tokens: AudioTokens, count: int, lm: SpeechLM) -> Merge:
        rounds = Rounds.start(tokens.embeds.cpu())
        while (left := len(rounds.S)) > count:
            rounds = rounds.then(runs(similarities(rounds.S), max(left // 2, count)))
        return rounds.merge()
