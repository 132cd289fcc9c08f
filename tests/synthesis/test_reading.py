"""Written text becomes the words that a person says; spoken text stays as it is."""

import json
import re
import sys
from pathlib import Path

import pytest

from auricle.errors import MissingDependencyError
from auricle.synthesis import reading
from auricle.synthesis.reading import as_spoken, sentences

pytest.importorskip("num2words", reason="needs the extra 'synthesis'")
pytest.importorskip("pysbd", reason="needs the extra 'synthesis'")

AUTHORED = Path(__file__).parents[2] / "data/sir/authored.jsonl"
READ = {
    "numbers": {
        "1,250 copies": "one thousand two hundred and fifty copies",
        "12 of 300": "twelve of three hundred",
        "agent 007": "agent zero zero seven",
        "1.43, 0.5 and .5": "one point four three, zero point five and point five",
        "2.0 and 5.2.1": "two point zero and five point two point one",
        "at -1.5 or \u22123": "at minus one point five or minus three",
        "the 3rd, 31st and 12,000th": "the third, thirty-first and twelve thousandth",
        "a 30-minute talk": "a thirty-minute talk",
        "5x more": "five times more",
        "3x4 or 3 \u00d7 4": "three by four or three by four",
    },
    "years": {
        "in 2018": "in twenty eighteen",
        "Since 1905, 1900 and 2005": "Since nineteen oh-five, nineteen hundred and two thousand and five",
        "1588's fleet": "fifteen eighty-eight's fleet",
        "1234 samples": "one thousand two hundred and thirty-four samples",
        "In 1999 sales rose": "In nineteen ninety-nine sales rose",
        "1999 was dry": "nineteen ninety-nine was dry",
        "1,100 or 1200.5": "one thousand one hundred or one thousand two hundred point five",
        "2345 and 1066": "two thousand three hundred and forty-five and one thousand and sixty-six",
        "mid-2018": "mid-twenty eighteen",
        "the 1990s and '90s": "the nineteen nineties and nineties",
        "early 1900s, 2000s": "early nineteen hundreds, two thousands",
        "March 31, 2019": "March thirty-first, twenty nineteen",
        "on Dec. 5": "on December fifth",
        "In May 20 people came": "In May twentieth people came",
        "In May 20 visitors came": "In May twenty visitors came",
    },
    "percent and money": {
        "15%, 0.5 %": "fifteen percent, zero point five percent",
        "1850%, a % of it": "one thousand eight hundred and fifty percent, a percent of it",
        "$5.2 million": "five point two million dollars",
        "$432,000!": "four hundred and thirty-two thousand dollars!",
        "$3.50, $0.99 and $4.00": "three dollars and fifty cents, ninety-nine cents and four dollars",
        "$1 or $1.01": "one dollar or one dollar and one cent",
        "a $5 fee, a $5.": "a five dollar fee, a five dollars.",
        "\u20ac5, 5 EUR, \u00a33.02, USD 7": "five euros, five euros, three pounds and two pence, seven dollars",
        "$5M or $3bn": "five million dollars or three billion dollars",
        "$5-10 million": "five to ten million dollars",
        "$200/day": "two hundred dollars per day",
        "-$5": "minus five dollars",
    },
    "times": {
        "3:30 p.m. today": "three thirty p.m. today",
        "at 9 a.m., not 4 PM.": "at nine a.m., not four p.m.",
        "9:45 AM": "nine forty-five a.m.",
        "9:05, 9:00 or 15:00": "nine oh five, nine o'clock or fifteen hundred",
        "9am-5pm": "nine a.m. to five p.m.",
        "a ratio of 3:1": "a ratio of three to one",
    },
    "several numbers": {
        "10-15 people": "ten to fifteen people",
        "10\u201315%": "ten to fifteen percent",
        "1939-1945": "nineteen thirty-nine to nineteen forty-five",
        "5-7-5": "five seven five",
        "24/7 and 9/11": "twenty-four seven and nine eleven",
        "1/2, 2 3/4 and 2\u00bd": "one half, two and three quarters and two and one half",
        "\u00bc to \u00be": "one quarter to three quarters",
    },
    "units": {
        "10 kg, 1 kg": "ten kilograms, one kilogram",
        "100 mph, 60 km/h": "one hundred miles per hour, sixty kilometers per hour",
        "20\u00b0C, 9 \u00b0F, 45\u00b0": "twenty degrees Celsius, nine degrees Fahrenheit, forty-five degrees",
        "5 m\u00b2, 9.8 m/s\u00b2": "five square meters, nine point eight meters per second squared",
        "a 10 km run, a 10-kg bag": "a ten kilometer run, a ten-kilogram bag",
        "120Hz, 5 mg/dL": "one hundred and twenty hertz, five milligrams per deciliter",
        "7'2\"": "seven feet two inches",
        "200 sq ft": "two hundred square feet",
        "5\u00b5g, 5 \u00b5m": "five micrograms, five micrometers",
        "20\u00b0 C, 9\u00ba F": "twenty degrees Celsius, nine degrees Fahrenheit",
    },
    "abbreviations": {
        "Dr. Lin and Mr Smith": "Doctor Lin and Mister Smith",
        "Mrs. Jones, Prof. Lee, St. Mary": "Missus Jones, Professor Lee, Saint Mary",
        "on Main St. today": "on Main Street today",
        "cats, dogs, etc.": "cats, dogs, et cetera.",
        "cats etc. are": "cats et cetera are",
        "E.g. this, i.e. that": "For example this, that is that",
        "us vs. them": "us versus them",
        "Concerto No. 5, Fig. 3": "Concerto Number five, Figure three",
        "World War II": "World War two",
    },
    "symbols": {
        "R&D at AT&T": "R and D at AT and T",
        "salt & 'pepper'": "salt and 'pepper'",
        "C++, 1+1=2": "C plus plus, one plus one equals two",
        "#5, #MeToo": "number five, hashtag MeToo",
        "~5, <5, >5": "about five, less than five, more than five",
        "A/B, he/she, and/or": "A B, he or she, and or",
        "spk_3, a_b": "spk three, a b",
        "@home, x\u00b2, y\u00b3": "at home, x squared, y cubed",
        "a \u00d7 b, 6 \u00f7 2, 5 \u00b1 1": "a times b, six divided by two, five plus or minus one",
        "me@site.org": "me at site dot org",
        "See Ancestry.com, https://www.a-b.org/c.": "See Ancestry dot com, www dot a dash b dot org slash c.",
    },
    "names": {
        "COVID-19, Q3, 5G": "COVID nineteen, Q three, five G",
        "CO2, CO\u2082": "CO two, CO two",
        "3D-printed, H3K27me3": "three D-printed, H three K twenty-seven me three",
        "the U.S., D.C., NASA's AI-driven UV-C": "the U.S., D.C., NASA's AI-driven UV-C",
    },
}
PAIRS = [pytest.param(*pair, id=f"{kind}: {pair[0]}") for kind, table in READ.items() for pair in table.items()]


@pytest.mark.parametrize(("written", "spoken"), PAIRS)
def test_as_spoken(written: str, spoken: str) -> None:
    assert as_spoken(written) == spoken
    assert as_spoken(spoken) == spoken


def test_inside_a_sentence() -> None:
    for written, spoken in (pair for table in READ.values() for pair in table.items()):
        if written.endswith("etc."):  # ends the sentence only where nothing follows
            continue
        assert as_spoken(f"So, {written} ... well \u2013 it's so.") == f"So, {spoken} ... well \u2013 it's so."


def test_spoken_text_stays() -> None:
    spoken = [text for line in AUTHORED.read_text().splitlines() for text in texts_of(json.loads(line))]
    assert len(spoken) > 900
    assert [as_spoken(text) for text in spoken] == spoken
    odd = " Two  spaces; a \u201cquote\u201d (and - so on) \u2026 I'm at 'home'. "
    assert as_spoken(odd) == odd


def texts_of(sample: dict) -> list[str]:
    return [text for turn in sample["transcript"] for text in turn["text"]]


@pytest.mark.parametrize(
    ("text", "cut"),
    [
        ("I met Dr. Lin at 3:30 p.m. today. She left!", ["I met Dr. Lin at 3:30 p.m. today.", "She left!"]),
        ("It is 2.5 kg, e.g. of No. 5.\nReally?", ["It is 2.5 kg, e.g. of No. 5.", "Really?"]),
        ('"Oh!" he said.  Good. "', ['"Oh!" he said.', 'Good. "']),
        ("... Well", ["... Well"]),
        (" Hi ", ["Hi"]),
        ("?!", ["?!"]),
        (" ", []),
        ("", []),
    ],
)
def test_sentences(text: str, cut: list[str]) -> None:
    assert sentences(text) == cut


def test_sentences_lose_nothing() -> None:
    for line in AUTHORED.read_text().splitlines():
        texts = texts_of(json.loads(line))
        joined = " ".join(texts)
        cut = sentences(joined)
        assert re.sub(r"\s", "", "".join(cut)) == re.sub(r"\s", "", joined)
        assert len(cut) >= 0.9 * len(texts)


def test_sentences_lose_nothing_that_is_altered(monkeypatch: pytest.MonkeyPatch) -> None:
    class Altering:
        def segment(self, text: str) -> list[str]:
            return ["One. ", "TWO. ", "Three. "]

    monkeypatch.setattr(reading, "_segmenter", Altering)
    assert sentences("One. Two. Three. Four") == ["One.", "Two. Three. Four"]


@pytest.mark.parametrize(("module", "call"), [("num2words", as_spoken), ("pysbd", sentences)])
def test_what_is_missing_is_said(module: str, call: object, monkeypatch: pytest.MonkeyPatch) -> None:
    reading._segmenter.cache_clear()
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(MissingDependencyError, match=rf"{module} is not installed; install auricle\[synthesis\]"):
        call("Number 5")
