"""Text as a person reads it aloud, and text cut into sentences.

`as_spoken` applies rules one after the other: abbreviations become words, what stands around a number says how it
is read, what is left of digits is read as plain numbers, and symbols come last.
"""

import re
from collections.abc import Callable, Iterable
from functools import lru_cache
from itertools import pairwise
from typing import Any

from auricle.errors import MissingDependencyError

Match = re.Match[str]
Rule = tuple[str, str | Callable[[Match], str]]  # a pattern, and what takes its place

GAP = "\0"  # becomes a space, or nothing before a mark and at the ends

TITLES = {  # before a name; the first three also without a dot
    "Dr": "Doctor", "Mr": "Mister", "Mrs": "Missus", "Prof": "Professor", "St": "Saint", "Mt": "Mount",
    "Gov": "Governor", "Sen": "Senator", "Gen": "General", "Col": "Colonel", "Lt": "Lieutenant",
    "Capt": "Captain", "Sgt": "Sergeant", "Rev": "Reverend",
}  # fmt: skip
ENDINGS = {  # they may end a sentence, whose full stop is then theirs
    "etc": "et cetera", "Jr": "Junior", "Sr": "Senior", "Inc": "Incorporated", "Corp": "Corporation",
    "Ltd": "Limited", "St": "Street", "Ave": "Avenue", "Blvd": "Boulevard",
}  # fmt: skip
PHRASES = {"e.g.": "for example", "i.e.": "that is", "vs.": "versus", "approx.": "approximately"}
NUMBERED = {"No": "Number", "no": "number", "Nos": "Numbers", "Fig": "Figure", "Vol": "Volume", "Ch": "Chapter"}
MONTHS = "January|February|March|April|May|June|July|August|September|October|November|December"
SHORT_MONTHS = {month[:3]: month for month in MONTHS.split("|") if month != "May"} | {"Sept": "September"}
UNITS = {
    "kg": "kilogram", "g": "gram", "mg": "milligram", "\u00b5g": "microgram", "lb": "pound", "lbs": "pound",
    "oz": "ounce", "km": "kilometer", "m": "meter", "cm": "centimeter", "mm": "millimeter",
    "\u00b5m": "micrometer", "nm": "nanometer", "mi": "mile", "ft": "foot", "yd": "yard", "sq ft": "square foot",
    "mph": "mile per hour", "kph": "kilometer per hour",
    "L": "liter", "ml": "milliliter", "mL": "milliliter", "ms": "millisecond", "sec": "second", "min": "minute",
    "hr": "hour", "hrs": "hour", "Hz": "hertz", "kHz": "kilohertz", "MHz": "megahertz", "GHz": "gigahertz",
    "KB": "kilobyte", "MB": "megabyte", "GB": "gigabyte", "TB": "terabyte", "Mbps": "megabit per second",
    "Gbps": "gigabit per second", "W": "watt", "kW": "kilowatt", "MW": "megawatt", "GW": "gigawatt",
    "kWh": "kilowatt-hour", "MWh": "megawatt-hour", "V": "volt", "kcal": "kilocalorie", "dB": "decibel",
    "ppm": "part per million", "rpm": "revolution per minute", "fps": "frame per second",
    "°C": "degree Celsius", "°F": "degree Fahrenheit", "°": "degree",
    "USD": "dollar", "EUR": "euro", "€": "euro", "GBP": "pound", "£": "pound",
}  # fmt: skip
PER = UNITS | {"h": "hour", "s": "second", "dL": "deciliter"}
MONEY = {"US$": "dollar", "$": "dollar", "USD": "dollar", "€": "euro", "EUR": "euro", "£": "pound", "GBP": "pound"}
CENTS = {"dollar": "cent", "euro": "cent", "pound": "penny"}
SCALES = {"k": "thousand", "m": "million", "mn": "million", "b": "billion", "bn": "billion"}
IRREGULAR = {"foot": "feet", "hertz": "hertz", "penny": "pence", "half": "halves"}
PARTS = {2: "half", 3: "third", 4: "quarter", 5: "fifth", 6: "sixth", 8: "eighth", 10: "tenth"}
POWERS = {"²": "square", "³": "cubic"}
SIGNS = {"½": f"{GAP}1/2", "¼": f"{GAP}1/4", "¾": f"{GAP}3/4", "º": "°", "° C": "°C", "° F": "°F"}
SIGNS |= {chr(ord("₀") + digit): str(digit) for digit in range(10)}
SYMBOLS = {"&": "and", "@": "at", "+": "plus", "=": "equals", "%": "percent", "±": "plus or minus"}
SYMBOLS |= {"\u00d7": "times", "÷": "divided by", "²": "squared", "³": "cubed", "_": ""}
ROMAN = {"II": "two", "III": "three"}  # of wars, rules and kings; "I", "IV" and "X" are also other things

_NUMBER = r"(?:\d{1,3}(?:,\d{3})+(?!\d)|\d+)(?:\.\d+)?"
_ARTICLE = r"(?P<article>\b[Aa]n?\s)?"
_SCALE = r"(?:\s?(?P<scale>thousand|million|billion|trillion|[kKmMbB]n?)\b)?"
_PER = r"(?:/(?P<per>[A-Za-z]+))?"
_MERIDIEM = r"([AaPp])\.?[Mm]\b\.?"
_COUNTED = r"\s+(?!(?:is|was|has|as|its|this|does|plus|vs)\b)[a-z]+s\b"  # such as "samples"
_DATED = re.compile(
    r"\b(?:in|since|by|from|until|till|before|after|during|year|early|mid|late|around|spring|summer|fall|autumn|"
    rf"winter|{MONTHS}),?[ -]$",
    re.IGNORECASE,
)


def as_spoken(text: str) -> str:
    """A text as a person would read it aloud in English; what is words already stays as it is.

    Four digits from 1100 to 2099 without a comma are a year ("1588" is "fifteen eighty-eight"), unless a word as in
    "1234 samples" (lower case, ending in s) follows and none such as "in" or "since" precedes. Money and units are
    in the singular where "a" makes them adjectives: "a $5 fee" is "a five dollar fee". "St." before a name is
    "Saint". The `https://` of an address is not read. Acronyms stay for the engine to spell; a number behind
    letters is a word of its own: "COVID nineteen".

    Raises:
        MissingDependencyError: num2words is not installed.
    """
    for pattern, spoken in _RULES:
        text = re.sub(pattern, spoken, text)
    if GAP not in text:
        return text
    gap = rf"\s*{GAP}[\s{GAP}]*"
    text = re.sub(rf"{gap}(?=\.(?!\.)|[,;:!?)\]\u2019\u201d]|['\"](?:\W|$)|$)|^{gap}", "", text)
    return re.sub(gap, " ", text)


def sentences(text: str) -> list[str]:
    """Cuts a text into its sentences, which hold all of it but the space around them.

    What has neither letter nor digit, such as a stray quotation mark, goes with the sentence before it.

    Raises:
        MissingDependencyError: pysbd is not installed.
    """
    ends = [0]
    for segment in _segmenter().segment(text):
        start = text.find(segment.strip(), ends[-1])
        if start >= 0:  # else pysbd has altered it, and it goes with the next one
            ends.append(start + len(segment.strip()))
    found: list[str] = []
    for start, end in pairwise([*ends[:-1], len(text)]):
        piece = text[start:end].strip()
        if found and not (_audible(found[-1]) and _audible(piece)):
            found[-1] = f"{found[-1]} {piece}".strip()
        elif piece:
            found.append(piece)
    return found


@lru_cache(maxsize=1)
def _segmenter() -> Any:  # noqa: ANN401 - pysbd has no types
    try:
        import pysbd
    except ImportError as error:
        raise MissingDependencyError("pysbd is not installed; install auricle[synthesis].") from error
    return pysbd.Segmenter(language="en", clean=False)


def _audible(text: str) -> bool:
    return any(character.isalnum() for character in text)


def _words(number: int, kind: str = "cardinal") -> str:
    try:
        from num2words import num2words
    except ImportError as error:
        raise MissingDependencyError("num2words is not installed; install auricle[synthesis].") from error
    return str(num2words(number, to=kind)).replace(",", "")


def _number(written: str) -> str:
    """Reads "1,250", "0.5", ".5" or "007"."""
    whole, point, decimals = written.replace(",", "").partition(".")
    by_digit = len(whole) > 12 or (len(whole) > 1 and whole[0] == "0")
    spoken = _digits(whole) if by_digit or not whole else _words(int(whole))
    return f"{spoken} point {_digits(decimals)}".strip() if point else spoken


def _digits(written: str) -> str:
    return " ".join(_words(int(digit)) for digit in written)


def _plural(word: str) -> str:
    regular = f"{word[:-1]}ies" if word.endswith("y") else f"{word}s"
    return IRREGULAR.get(word, regular)


def _measured(match: Match, amount: str, unit: str) -> str:
    """An amount of a unit: one of it, or an adjective after "a", is in the singular."""
    adjective = match["article"] and re.match(r"\s[a-z]", match.string[match.end() :])
    if not adjective and amount != "one":  # "miles per hour" and "square miles"
        unit = re.sub(r"^(square |cubic |)([\w-]+)", lambda name: name[1] + _plural(name[2]), unit)
    rate = f" per {PER.get(match['per'], match['per'])}" if match["per"] else ""
    return f"{match['article'] or ''}{amount} {unit}{rate}"


def _money(match: Match) -> str:
    unit, scale = MONEY[match["symbol"]], match["scale"] or ""
    whole, _, cents = match["number"].partition(".")
    if len(cents) == 2 and not scale and not match["upper"]:
        small = f"{_number(str(int(cents)))} {CENTS[unit] if cents == '01' else _plural(CENTS[unit])}"
        if whole == "0":
            return f"{match['article'] or ''}{small}"
        spoken = _measured(match, _number(whole), unit)
        return spoken if cents == "00" else f"{spoken} and {small}"
    upper = f" to {_number(match['upper'])}" if match["upper"] else ""
    scale = f" {SCALES.get(scale.lower(), scale)}" if scale else ""
    return _measured(match, f"{_number(match['number'])}{upper}{scale}", unit)


def _unit(match: Match) -> str:
    unit, amount = UNITS[match["unit"]], _number(match["number"])
    if match["power"]:
        unit = f"{POWERS[match['power']]} {unit}"
    if match["joint"] == "-":
        return f"{match['article'] or ''}{amount}-{unit}"
    return _measured(match, amount, unit) + (" squared" if match["squared"] else "")


def _time(match: Match) -> str:
    hour, minute, half = match.groups()
    if minute == "00":
        rest = "" if half else " o'clock" if int(hour) <= 12 else " hundred"
    else:
        rest = f" oh {_number(minute[1])}" if minute[0] == "0" else f" {_number(minute)}"
    return _number(str(int(hour))) + rest + (f" {half.lower()}.m." if half else "")


def _year(match: Match) -> str:
    dated = _DATED.search(match.string[: match.start()])
    if not dated and re.match(_COUNTED, match.string[match.end() :]):
        return _number(match[0])
    return _words(int(match[0]), "year")


def _fraction(match: Match) -> str:
    whole, above, below = match.groups()
    if not (int(below) in PARTS and int(above) < int(below)):  # "24/7", "9/11"
        return " ".join(part for part in match.groups() if part)
    part = PARTS[int(below)]
    spoken = f"{_words(int(above))} {part if above == '1' else _plural(part)}"
    return f"{whole} and {spoken}" if whole else spoken


def _decade(match: Match) -> str:
    head, _, last = _words(int(match[1]), "year" if len(match[1]) == 4 else "cardinal").rpartition(" ")
    return f"{head} {_plural(last)}".strip()


def _address(match: Match) -> str:
    words = re.sub(r"^https?://", "", match[0])
    for mark, name in ((".", "dot"), ("/", "slash"), ("@", "at"), ("-", "dash"), ("_", "underscore")):
        words = words.replace(mark, f"{GAP}{name}{GAP}")
    return words


def _ending(match: Match) -> str:
    stop = re.match(r"['\"\u201d\u2019)]*(?:$|\s+[A-Z])", match.string[match.end() :])
    return ENDINGS[match[1]] + ("." if stop else "")


def _phrase(match: Match) -> str:
    phrase = PHRASES[match[0].lower()]
    return phrase.capitalize() if match[0][0].isupper() else phrase


def _any(names: Iterable[str]) -> str:
    return "|".join(re.escape(name) for name in sorted(names, key=len, reverse=True))


_SIGN = rf"(?:{_any(MONEY)})?"
_BETWEEN = rf"(?:{GAP}to{GAP}(?P<upper>{_NUMBER}))?"
_MONEY = rf"{_ARTICLE}(?P<symbol>{_any(MONEY)})\s?(?P<number>{_NUMBER}){_BETWEEN}{_SCALE}{_PER}"
_UNIT = rf"(?P<unit>{_any(UNITS)})(?P<power>[²³])?{_PER}(?P<squared>²)?(?![\w'\u2019])"

_RULES: tuple[Rule, ...] = (
    *((re.escape(sign), plain) for sign, plain in SIGNS.items()),
    # Addresses and abbreviations.
    (r"(?:https?://|\bwww\.)[\w./-]*\w|\b[\w.+-]+@[\w-]+(?:\.\w+)+", _address),
    (r"\b\w[\w-]*\.(?:com|org|net|edu|gov|io)\b(?:/[\w/-]*\w)?", _address),
    (rf"\b({_any(SHORT_MONTHS)})\.?(?=\s\d)", lambda match: SHORT_MONTHS[match[1]]),
    (rf"\b({_any(TITLES)})\.(?=\s[A-Z])|\b(Dr|Mr|Mrs)(?=\s[A-Z])", lambda match: TITLES[match[1] or match[2]]),
    (rf"\b({_any(ENDINGS)})\.", _ending),
    (rf"\b({_any(NUMBERED)})\.\s?(?=\d)", lambda match: f"{NUMBERED[match[1]]} "),
    (rf"(?i)(?<!\w)(?:{_any(PHRASES)})", _phrase),
    (rf"\b([A-Z]\w+ )({_any(ROMAN)})\b", lambda match: match[1] + ROMAN[match[2]]),
    # Several numbers, and signs before one.
    (r"(?<![\w.])\d+(?:[-/]\d+){2,}(?!\w)", lambda match: re.sub("[-/]", " ", match[0])),
    (r"(?<![\w.])\d+(?:\.\d+){2,}", lambda match: " point ".join(map(_number, match[0].split(".")))),
    (r"(?<![\w.])(\d+)['\u2032](\d+)[\"\u201d\u2033]", r"\1 ft \2 inches"),
    (rf"(?<![\w/])(?:(\d\d?)[ {GAP}-])?(\d+)/(\d+)(?![\w/])", _fraction),
    (rf"((?<![A-Za-z])\d|\d%|\d°[CF]?|\d\s?[ap]\.?m\.?)\s?[-\u2013]\s?(?={_SIGN}\d)", rf"\1{GAP}to{GAP}"),
    (rf"(?<![\w.)\]])[-\u2212](?={_SIGN}\d)", "minus "),
    (r"[~≈]\s?(?=\d)", "about "),
    (r"<\s?(?=\d)", "less than "),
    (r">\s?(?=\d)", "more than "),
    (r"#(?=\d)", "number "),
    (r"#(?=[A-Za-z])", "hashtag "),
    # What a number counts.
    (_MONEY, _money),
    (rf"(?<![\d:.,])([01]?\d|2[0-4]):([0-5]\d)(?![\d:])(?:\s?{_MERIDIEM})?", _time),
    (rf"(?<=\d)\s?{_MERIDIEM}", lambda match: f" {match[1].lower()}.m."),
    (r"(\d+):(\d+)", r"\1 to \2"),
    (r"(?<![\d,.])([\d,]*\d)(?:st|nd|rd|th)\b", lambda match: _words(int(match[1].replace(",", "")), "ordinal")),
    (r"\b((?:1[1-9]|20)\d0)'?s\b", _decade),
    (r"['\u2019]?\b([2-9]0)'?s\b", _decade),
    (
        rf"\b({MONTHS}) (\d\d?)(?![\d:%/-]|[,.]\d|\s%|{_COUNTED})",
        lambda match: f"{match[1]} {_words(int(match[2]), 'ordinal')}",
    ),
    (rf"{_ARTICLE}(?<![\w.])(?P<number>{_NUMBER})(?P<joint>\s?|-){_UNIT}", _unit),
    (rf"({_NUMBER})\s?%", lambda match: f"{_number(match[1])} percent"),
    (r"(?<![\d.,A-Za-z])(?:1[1-9]|20)\d\d(?!\w|[.,]\d)", _year),
    # The number alone, and what is left.
    (r"(?<=\d)\s?[x\u00d7]\s?(?=\d)", f"{GAP}by{GAP}"),
    (r"(?<=\d)x\b", f"{GAP}times"),
    (r"(?<=[A-Za-z])[-_]?(?=\d)|(?<=\d)(?=[A-Za-z])", GAP),
    (rf"{_NUMBER}|(?<!\w)\.\d+", lambda match: _number(match[0])),
    (r"(?<=[a-z])/(?=or\b)|(?<=[A-Z])/(?=[A-Z])", GAP),
    (r"(?<=[A-Za-z])/(?=[A-Za-z])", f"{GAP}or{GAP}"),
    *((re.escape(symbol), f"{GAP}{name}{GAP}") for symbol, name in SYMBOLS.items()),
)
