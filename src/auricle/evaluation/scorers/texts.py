"""Texts against texts: word and character errors, BLEU, ROUGE."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, ClassVar, final

import numpy as np
from jaxtyping import Float
from typing_extensions import override

from auricle.errors import MissingDependencyError
from auricle.evaluation.log import Record
from auricle.evaluation.scorers.base import Figures, Scorer, percent
from auricle.evaluation.scorers.languages import LANGUAGES, base_code

CJK = ("zh", "ja", "ko")  # whose words are not told apart by spaces, or not reliably
TOKENIZERS = {"zh": "zh", "ja": "ja-mecab"}  # of sacrebleu; "13a" for all other languages
_MARKERS = ("spoken content", "content", "transcription", "transcript")
_NGRAMS = 4
_PER_LANGUAGE = 2 * _NGRAMS + 2


@final
@dataclass(frozen=True)
class UtteranceWER(Scorer):
    """100 minus the mean of every recording's word error rate, as AudioMarathon has it.

    Of an answer, what follows "Spoken Content:" is the transcript. Both sides are lower-cased, their punctuation is
    left out, hyphens and apostrophes without a space. Without a word on either side the rate is 100; "parsed only"
    leaves recordings without any transcript out, as the scripts do. Rates above 100 stay, so that the figure may be
    negative.
    """

    PUBLISHED: ClassVar[str] = "100 - WER, parsed only"

    @override
    def counts(self, record: Record) -> Sequence[float]:
        said = "" if record.error else spoken_content(record.answer)
        reference, heard = plain_words(record.reference), plain_words(said)
        errors, words = _errors(reference, heard)
        rate = 100.0 * errors / words if words else 100.0
        parsed = bool(said and record.reference.strip())
        return rate, 1.0, rate if parsed else 0.0, float(parsed)

    @override
    def measure(self, sums: Float[np.ndarray, "draws counts"]) -> Figures:
        return {
            "100 - WER": 100 - percent(sums[:, 0], sums[:, 1]) / 100,
            self.PUBLISHED: 100 - percent(sums[:, 2], sums[:, 3]) / 100,
            "unparsed": percent(sums[:, 1] - sums[:, 3], sums[:, 1]),
        }


@final
@dataclass(frozen=True)
class ErrorRates(Scorer):
    """Word errors, and character errors of Chinese, Japanese and Korean, over all recordings together.

    The record's group "language" decides, or the reference's own characters where it is missing. Texts are compared
    after Whisper's normalizers (the English one without its table of British spellings), characters without spaces.
    A rate may exceed 100.

    Differs from the paper (LongSpeech, section 3.2), which does not say how texts are normalized.
    """

    INSTEAD: ClassVar[str] = "CER (zh, ja, ko)"
    HIGHER: ClassVar[bool] = False

    @override
    def counts(self, record: Record) -> Sequence[float]:
        language = spoken_language(record)
        normalize = normalizer(language)
        reference, heard = normalize(record.reference), normalize("" if record.error else record.answer)
        words = (0, 0) if language in CJK else _errors(reference, heard)
        every = _errors(_spaced(reference), _spaced(heard))
        characters = every if language in CJK else (0, 0)
        return [float(each) for each in (*words, *characters, *every)]

    @override
    def measure(self, sums: Float[np.ndarray, "draws counts"]) -> Figures:
        names = ("WER", "CER (zh, ja, ko)", "CER (all)")
        return {name: percent(sums[:, 2 * i], sums[:, 2 * i + 1]) for i, name in enumerate(names)}


@final
@dataclass(frozen=True)
class Bleu(Scorer):
    """Case-insensitive BLEU-4 of `sacrebleu`, of each target language, and the mean of these.

    The record's group "language" is the target, and `TOKENIZERS` says how its text is cut.

    Differs from the paper (LongSpeech, section 3.2), which does not say how texts are cut and languages pooled.
    """

    @override
    def counts(self, record: Record) -> Sequence[float]:
        language = base_code(record.groups.get("language", ""))
        found = np.zeros((len(LANGUAGES) + 1, _PER_LANGUAGE))
        row = list(LANGUAGES).index(language) if language in LANGUAGES else len(LANGUAGES)
        said = "" if record.error else record.answer
        score = _bleu(TOKENIZERS.get(language, "13a")).corpus_score([said], [[record.reference]])
        found[row] = [*score.counts, *score.totals, score.sys_len, score.ref_len]
        return found.ravel().tolist()

    @override
    def measure(self, sums: Float[np.ndarray, "draws counts"]) -> Figures:
        by_language = sums.reshape(len(sums), len(LANGUAGES) + 1, _PER_LANGUAGE)
        values = np.full(by_language.shape[:2], np.nan)
        for place in np.argwhere(by_language[..., -1] > 0):
            values[tuple(place)] = _bleu_of(by_language[tuple(place)])
        there = ~np.isnan(values)
        total = np.where(there, values, 0.0).sum(1)
        figures = {"BLEU": percent(total, there.sum(1).astype(float)) / 100}
        names = [*LANGUAGES, "other"]
        return figures | {f"BLEU {names[i]}": values[:, i] for i in np.flatnonzero(there.any(0))}


@final
@dataclass(frozen=True)
class Rouge(Scorer):
    """ROUGE-1, ROUGE-2, ROUGE-L: the mean F1 of `rouge_score` with its stemmer; it knows words of a to z only."""

    @override
    def counts(self, record: Record) -> Sequence[float]:
        scores = _rouge().score(record.reference, "" if record.error else record.answer)
        return (*(float(scores[name].fmeasure) for name in ("rouge1", "rouge2", "rougeL")), 1.0)

    @override
    def measure(self, sums: Float[np.ndarray, "draws counts"]) -> Figures:
        names = ("ROUGE-1", "ROUGE-2", "ROUGE-L")
        return {name: percent(sums[:, i], sums[:, 3]) for i, name in enumerate(names)}


def spoken_content(answer: str) -> str:
    """The transcript in an answer: what follows the first marker that it has, or all of it."""
    text = answer
    for marker in _MARKERS:
        parts = re.split(rf"{marker}:", text, flags=re.IGNORECASE)
        if len(parts) > 1:
            text = parts[1]
            break
    text = re.sub(r"<sep>.*?($|<)", "", text.replace("<transcribed text here>", "")).strip()
    return re.sub(
        r"^(spoken\s+(?:text|content)|content|transcript|transcription):\s*", "", text, flags=re.I
    ).strip()


def spoken_language(record: Record) -> str:
    """The code of a recording's language; "" if it is one without a code here."""
    if tag := record.groups.get("language", ""):
        return base_code(tag)
    scripts = (("ja", "[\u3040-\u30ff]"), ("ko", "[\uac00-\ud7af]"), ("zh", "[\u3400-\u9fff]"))
    return next((code for code, signs in scripts if re.search(signs, record.reference)), "en")


def plain_words(text: str) -> str:
    """Words as AudioMarathon compares them: lower case, no punctuation, one space between."""
    text = re.sub(r"[.!?,;:\"()\[\]{}]", " ", text.lower())
    return " ".join(re.sub(r"['-]", "", text).split())


@lru_cache
def normalizer(language: str) -> Callable[[str], str]:
    """Whisper's normalizer of a language."""
    from transformers.models.whisper.english_normalizer import BasicTextNormalizer, EnglishTextNormalizer

    found: Callable[[str], str] = EnglishTextNormalizer({}) if language == "en" else BasicTextNormalizer()
    return found


def _spaced(text: str) -> str:
    """Its characters as words."""
    return " ".join("".join(text.split()))


def _errors(reference: str, heard: str) -> tuple[int, int]:
    """Word errors, and words of the reference; all that is heard is wrong where there is none."""
    try:
        import jiwer
    except ImportError as error:
        raise MissingDependencyError("jiwer is not installed; install auricle[eval].") from error
    if not reference.split():
        return len(heard.split()), 0
    found = jiwer.process_words(reference, heard)
    return found.substitutions + found.deletions + found.insertions, len(reference.split())


@lru_cache
def _bleu(tokenizer: str) -> Any:  # noqa: ANN401 - loaded only where it is needed
    try:
        from sacrebleu.metrics.bleu import BLEU

        return BLEU(lowercase=True, tokenize=tokenizer)
    except (ImportError, RuntimeError) as error:  # the second: Japanese needs MeCab
        raise MissingDependencyError("sacrebleu is not installed; install auricle[eval].") from error


def _bleu_of(counts: Float[np.ndarray, "counts"]) -> float:
    from sacrebleu.metrics.bleu import BLEU

    correct, total = counts[:_NGRAMS].astype(int).tolist(), counts[_NGRAMS : 2 * _NGRAMS].astype(int).tolist()
    return float(BLEU.compute_bleu(correct, total, int(counts[-2]), int(counts[-1]), smooth_method="exp").score)


@lru_cache
def _rouge() -> Any:  # noqa: ANN401 - it has no types
    try:
        from rouge_score.rouge_scorer import RougeScorer
    except ImportError as error:
        raise MissingDependencyError("rouge-score is not installed; install auricle[eval].") from error
    return RougeScorer(["rouge1", "rouge2", "rougeL"], use_stemmer=True)
