"""Figures 2 and 3."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from matplotlib.figure import Figure

from auricle.errors import MissingDependencyError, OptionError
from auricle.evaluation import metrics, pictures
from auricle.evaluation.methods import Method, baselines
from auricle.evaluation.report import Result
from auricle.evaluation.table import Table
from auricle.pruning.base import Pruner
from auricle.pruning.similarity import relevance
from auricle.pruning.speechprune import Phase, SpeechPrune
from auricle.reproduce.paper import FIGURE3, FIGURE3_ALL_TOKENS, RATES
from auricle.speech_lm import AudioTokens, Query, SpeechLM

PHASES: Mapping[Phase, str] = {"similarity": "phase 1", "attention": "phase 2", "both": "speechprune"}
PERPLEXITY = 30.0  # scikit-learn's default; the paper names none
_GREY, _BLUE, _RED = "#B8B8B8", "#0072B2", "#D55E00"


@dataclass(frozen=True)
class Projection:
    """A t-SNE of a recording's speech tokens and its question's text tokens.

    Attributes:
        speech: of every speech token.
        text: of every text token.
        kept: which speech tokens each method keeps.
        cosine: mean cosine to the question of the kept and of the pruned tokens, before the projection, by method.
    """

    speech: Float[np.ndarray, "audio 2"]
    text: Float[np.ndarray, "text 2"]
    kept: Mapping[str, np.ndarray]
    cosine: Mapping[str, tuple[float, float]]


def project(
    lm: SpeechLM, tokens: AudioTokens, query: Query, pruners: Mapping[str, Pruner], seed: int
) -> Projection:
    """Figure 2: projects speech and text tokens together by t-SNE over cosine distances.

    Raises:
        OptionError: there are too few tokens to project.
        MissingDependencyError: scikit-learn is not installed.
    """
    try:
        from sklearn.manifold import TSNE
    except ImportError as error:
        raise MissingDependencyError("scikit-learn is not installed; install auricle[eval].") from error
    joined = np.concatenate([each.float().cpu().numpy() for each in (tokens.embeds, query.embeds)])
    if len(joined) <= PERPLEXITY:
        raise OptionError(
            f"There are {len(joined)} tokens; a t-SNE needs more than {PERPLEXITY:g}, take a longer one."
        )
    flat = TSNE(metric="cosine", init="random", perplexity=PERPLEXITY, random_state=seed).fit_transform(joined)
    similar = relevance(tokens.embeds, query.embeds).cpu().numpy()
    kept, cosine = {}, {}
    for name, pruner in pruners.items():
        chosen = np.zeros(len(tokens), dtype=bool)
        chosen[pruner.keep(tokens, query, lm).numpy()] = True
        kept[name] = chosen
        cosine[name] = (_mean(similar[chosen]), _mean(similar[~chosen]))
    return Projection(flat[: len(tokens)], flat[len(tokens) :], kept, cosine)


def figure2(projected: Projection) -> Figure:
    """Pruned tokens in grey, kept ones in blue, the question's in red, a panel a method."""
    figure = Figure(figsize=(5.5 * len(projected.kept), 5), layout="constrained")
    panels = np.atleast_1d(figure.subplots(1, len(projected.kept)))
    for axes, (name, kept) in zip(panels, projected.kept.items(), strict=True):
        axes.scatter(*projected.speech[~kept].T, s=6, color=_GREY, label="pruned")
        axes.scatter(*projected.speech[kept].T, s=8, color=_BLUE, label="kept")
        axes.scatter(*projected.text.T, s=24, color=_RED, marker="^", label="question")
        inside, outside = projected.cosine[name]
        axes.set_title(f"{name}: mean cosine {inside:.3f} kept, {outside:.3f} pruned", loc="left", fontsize=10)
        axes.set_xticks([])
        axes.set_yticks([])
    panels[0].legend(frameon=False, fontsize=8)
    return figure


def figure3_methods() -> tuple[Method, ...]:
    """Each phase alone and both over the paper's rates, with what picks the hard part and the dotted line."""
    found = [
        Method(f"{name} {rate:g}", pruner=SpeechPrune(rate, phase=phase))
        for phase, name in PHASES.items()
        for rate in RATES
    ]
    return (*(each for each in baselines() if each.name in ("first30", "full")), *found)


def figure3(scored: Result) -> tuple[Figure, Table]:
    """Figure 3: accuracy on the hard part over rates, and the same as a table with the whole set beside.

    Raises:
        OptionError: the model answers every sample right from its first 30 s, so that no part is hard.
    """
    records = metrics.of(scored.records, [each.name for each in figure3_methods()])  # Table 1 may share the log
    hard = metrics.by_method(metrics.hard(records))
    if not hard:
        raise OptionError(f"{scored.run.model} answers every sample from its first 30 s; there is no hard part.")
    whole = metrics.by_method(records)
    lines: dict[str, list[tuple[float, metrics.Estimate]]] = {}
    rows = []
    for name, asked in hard.items():
        rate = asked[0].pruning_rate
        on_hard, on_all = metrics.row(name, asked), metrics.row(name, whole[name])
        if rate is not None:
            lines.setdefault(name.rsplit(" ", 1)[0], []).append((rate, on_hard.accuracy))
        recall = "" if on_all.recall is None else str(on_all.recall)
        rows.append((name, str(on_hard.accuracy), str(on_all.accuracy), recall, _paper(name, rate)))
    levels = {"all tokens": metrics.row("full", hard["full"]).accuracy.value} if "full" in hard else {}
    count = len({record.sample for record in hard["first30"]})
    header = (
        "method",
        f"accuracy, {count} hard samples",
        f"all {len(scored.samples)}",
        "evidence kept",
        "paper, SPIRAL-H",
    )
    table = Table(f"Figure 3, {scored.run.model} on {scored.run.benchmark}", header, tuple(rows))
    return pictures.curves(lines, levels, f"accuracy on the {count} samples that first30 gets wrong"), table


def _paper(name: str, rate: float | None) -> str:
    if name == "full":
        return f"{FIGURE3_ALL_TOKENS / 100:.3f}"
    if rate is None or rate not in FIGURE3:
        return ""
    return f"{FIGURE3[rate][list(PHASES.values()).index(name.rsplit(' ', 1)[0])] / 100:.3f}"


def _mean(values: Sequence[float] | np.ndarray) -> float:
    return float(np.mean(values)) if len(values) else float("nan")
