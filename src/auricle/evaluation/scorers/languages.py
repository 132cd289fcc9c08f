"""Which language: names and codes, and how an answer that names one is scored."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import final

import numpy as np
from jaxtyping import Float
from typing_extensions import override

from auricle.evaluation.log import Record
from auricle.evaluation.scorers.base import Figures, Scorer, percent, where_any

# ISO 639-1 codes, with the names that answers use: English first, then what speakers call it.
LANGUAGES: Mapping[str, tuple[str, ...]] = {
    "en": ("english",),
    "zh": ("chinese", "mandarin", "cmn", "zho", "中文", "汉语", "漢語", "普通话"),
    "de": ("german", "deutsch", "deu"),
    "fr": ("french", "français", "francais", "fra"),
    "es": ("spanish", "español", "espanol", "castilian", "spa"),
    "it": ("italian", "italiano", "ita"),
    "ja": ("japanese", "日本語", "jpn"),
    "ko": ("korean", "한국어", "kor"),
    "pl": ("polish", "polski", "pol"),
    "ro": ("romanian", "română", "ron"),
    "hu": ("hungarian", "magyar", "hun"),
    "cs": ("czech", "čeština", "ces"),
    "tr": ("turkish", "türkçe", "tur"),
    "nl": ("dutch", "nederlands", "nld"),
    "th": ("thai", "ไทย", "tha"),
    "id": ("indonesian", "bahasa indonesia", "ind"),
    "vi": ("vietnamese", "tiếng việt", "vie"),
    "ru": ("russian", "русский", "rus"),
    "pt": ("portuguese", "português", "por"),
    "fi": ("finnish", "suomi", "fin"),
    "hr": ("croatian", "hrvatski", "hrv"),
    "sk": ("slovak", "slovenčina", "slk"),
    "sl": ("slovenian", "slovene", "slovenščina", "slv"),
    "et": ("estonian", "eesti", "est"),
    "lt": ("lithuanian", "lietuvių", "lit"),
    "sv": ("swedish", "svenska", "swe"),
    "da": ("danish", "dansk", "dan"),
    "no": ("norwegian", "norsk", "nor"),
    "el": ("greek", "ελληνικά", "ell"),
    "uk": ("ukrainian", "українська", "ukr"),
    "ar": ("arabic", "العربية", "ara"),
    "hi": ("hindi", "हिन्दी", "hin"),
}
_CODES = {name: code for code, names in LANGUAGES.items() for name in (code, *names)}
_TAG = re.compile(r"<\|\s*([A-Za-z]{2,3})(?:[-_][A-Za-z]+)?\s*\|>")
_SHORTEST = 4  # letters of a name that is looked for within a sentence: "no", "it" and "est" are words, too
_NAMES = sorted((name for name in _CODES if len(name) >= _SHORTEST or not name.isascii()), key=len, reverse=True)


def base_code(tag: str) -> str:
    """The code of a tag or name, without its region: "zh-CN" and "Mandarin" are "zh"; "" if it is not known."""
    known = tag.strip().lower().replace("_", "-")
    return _CODES.get(known) or _CODES.get(known.split("-")[0], "")


def named(answer: str) -> str:
    """The code of the first language that an answer names: by a tag such as <|en|>, a code alone, or a name.

    "" if it names none, and the codes of two or three letters count only alone or in a tag.
    """
    if match := _TAG.search(answer):
        return base_code(match[1])
    text = answer.strip(" \t\n.!\"'").lower()
    if code := base_code(text):
        return code
    pattern = "|".join(rf"(?<!\w){re.escape(name)}(?!\w)" if name.isascii() else re.escape(name) for name in _NAMES)
    found = re.search(pattern, text)
    return _CODES[found[0]] if found else ""


@final
@dataclass(frozen=True)
class LanguageDetection(Scorer):
    """D.A, the share of right languages; M.R, of answers that name none; D.E, of wrong ones. They add up to 100.

    The paper's wording of the last two could not be read (LongSpeech, section 3.2): a third-party harness has them
    the other way round. A language that is not in the table is counted, and no answer to it is right.
    """

    @override
    def counts(self, record: Record) -> Sequence[float]:
        right = base_code(record.groups.get("language", "")) or named(record.reference)
        said = "" if record.error else named(record.answer)
        return float(bool(said) and said == right), float(not said), 1.0, float(not right)

    @override
    def measure(self, sums: Float[np.ndarray, "draws counts"]) -> Figures:
        hit, unnamed, every, unknown = sums.T
        return {
            "D.A": percent(hit, every),
            "M.R": percent(unnamed, every),
            "D.E": percent(every - hit - unnamed, every),
            "reference unknown": where_any(unknown, every),
        }

    @override
    def constants(self, records: Sequence[Record]) -> Sequence[str]:
        return list(LANGUAGES)
