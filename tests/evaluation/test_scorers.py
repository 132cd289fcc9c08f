import random
from dataclasses import dataclass, replace

import jiwer
import numpy as np
import pytest
import sacrebleu
from rouge_score.rouge_scorer import RougeScorer
from sklearn.metrics import accuracy_score, f1_score
from typing_extensions import override

from auricle.errors import DataError
from auricle.evaluation.scorers import base, texts
from auricle.evaluation.scorers.base import Scorer, best_constant, count
from auricle.evaluation.scorers.choices import F1
from auricle.evaluation.scorers.labels import (
    EMOTIONS,
    POLARITIES,
    UNKNOWN,
    Count,
    Emotion,
    Judged,
    emotion_class,
    number,
)
from auricle.evaluation.scorers.languages import LanguageDetection, base_code, named
from auricle.evaluation.scorers.texts import Bleu, ErrorRates, Rouge, UtteranceWER
from evaluation.records import record, said

GROUPS = ("young", "middle", "old")


def figures(scorer, records):
    return base.figures(count(scorer, records))


def difference(scorer, first, second):
    return base.difference(count(scorer, first), count(scorer, second))


def values(scorer, records):
    return {name: None if each is None else each.value for name, each in figures(scorer, records).items()}


def known(found):
    return {name: value for name, value in found.items() if value is not None}


def opened(answer, reference, sample="s0", language="en", **fields):
    """An answer to an open question."""
    return said(answer, order=(), sample=sample, reference=reference, groups={"language": language}, **fields)


def chosen(right, taken, number, choices=("red", "green", "blue", "grey"), order=None):
    """Choice `taken` where `right` is right, generated as a letter; -1 names none."""
    order = order or tuple(range(len(choices)))
    answer = "who knows" if taken < 0 else "ABCDE"[order.index(taken)]
    base = said(answer, order, sample=f"s{number}", correct=right)
    return replace(base, choices=choices, recording=f"s{number}")


def drawn(count=60, classes=4, seed=0, unparsed=0.2):
    rng = random.Random(seed)
    right = [rng.randrange(classes) for _ in range(count)]
    taken = [
        -1 if rng.random() < unparsed else (r if rng.random() < 0.5 else rng.randrange(classes)) for r in right
    ]
    return right, taken


@pytest.mark.parametrize("average", ["macro", "weighted"])
@pytest.mark.parametrize("seed", range(3))
def test_f1_of_letters_is_that_of_sklearn(average, seed):
    right, taken = drawn(seed=seed)
    rng = random.Random(seed)
    orders = [tuple(rng.sample(range(4), 4)) for _ in right]
    records = [chosen(r, t, i, order=o) for i, (r, t, o) in enumerate(zip(right, taken, orders, strict=True))]
    letters = [o.index(r) for r, o in zip(right, orders, strict=True)]
    answered = [o.index(t) if t >= 0 else -1 for t, o in zip(taken, orders, strict=True)]
    found = values(F1(average=average), records)
    every = f1_score(letters, answered, labels=range(4), average=average, zero_division=0)
    assert found[f"{average} F1"] == pytest.approx(100 * every)
    parsed = [(a, b) for a, b in zip(letters, answered, strict=True) if b >= 0]
    only = f1_score(*zip(*parsed, strict=True), average=average, zero_division=0)
    assert found["F1, parsed only"] == pytest.approx(100 * only)
    assert found["accuracy"] == pytest.approx(100 * accuracy_score(letters, answered))
    assert found["unparsed"] == pytest.approx(100 * taken.count(-1) / len(taken))


@pytest.mark.parametrize("average", ["macro", "weighted"])
def test_f1_of_choices_does_not_care_where_they_are_listed(average):
    right, taken = drawn(classes=3, unparsed=0.0)
    rng = random.Random(1)
    records = []
    for i, (r, t) in enumerate(zip(right, taken, strict=True)):
        listed = tuple(rng.sample(GROUPS, 3))
        records.append(chosen(listed.index(GROUPS[r]), listed.index(GROUPS[t]), i, choices=listed))
    expected = 100 * f1_score(right, taken, average=average)
    assert values(F1("choices", average), records)[f"{average} F1"] == pytest.approx(expected)
    assert values(F1("letters", average), records)[f"{average} F1"] != pytest.approx(expected)


def test_f1_by_hand():
    # A: 1 hit of 2, chosen twice: 0.5; B: 1 of 2, chosen once (the other has no letter): 2/3; C, D never occur.
    records = [chosen(0, 0, 0), chosen(0, 1, 1), chosen(1, 0, 2), chosen(1, -1, 3), chosen(1, 1, 4)]
    found = values(F1(), records)
    assert found["macro F1"] == pytest.approx(100 * (0.5 + 2 / 5) / 2)
    assert found["F1, parsed only"] == pytest.approx(100 * (0.5 + 0.5) / 2)
    assert values(F1(), [chosen(0, -1, i) for i in range(3)])["macro F1"] == 0
    assert values(F1(), [chosen(0, -1, i) for i in range(3)])["F1, parsed only"] is None
    assert values(F1(), [chosen(2, 2, i) for i in range(3)])["macro F1"] == 100


def test_a_constant_answer_on_as_many_of_both_is_a_third():
    records = [chosen(i % 2, 0, i, choices=("real", "fake")) for i in range(10)]
    assert values(F1("choices"), records)["macro F1"] == pytest.approx(100 / 3)
    assert best_constant(F1("choices"), records)[1] == pytest.approx(100 / 3)
    assert best_constant(F1(), [chosen(3, 0, i) for i in range(4)]) == ("D", 100.0)


def test_more_choices_than_there_are_letters_for_are_refused():
    with pytest.raises(DataError, match="has 6 choices"):
        F1().counts(chosen(0, 0, 0, choices=tuple("abcdef")))


def test_likelihoods_count_as_well_as_letters():
    records = [record(f"s{i}", "full", i % 2 == 0) for i in range(4)]
    assert values(F1(), records)["accuracy"] == 50


PAIRS = [
    ("The cat sat on the mat.", "the cat sat on a mat"),
    ("Well-known, isn't it?", "Spoken Content: wellknown isnt it"),
    ("one two three", "Sure. Transcription: one two"),
    ("one", "one two three four"),
]


def test_utterance_wer_is_the_mean_of_jiwer():
    found = values(UtteranceWER(), [opened(heard, ref, f"s{i}") for i, (ref, heard) in enumerate(PAIRS)])
    plain = [
        ("the cat sat on the mat", "the cat sat on a mat"),
        ("wellknown isnt it", "wellknown isnt it"),
        ("one two three", "one two"),
        ("one", "one two three four"),
    ]
    rates = [100 * jiwer.wer(ref, heard) for ref, heard in plain]
    assert rates == pytest.approx([100 / 6, 0, 100 / 3, 300])
    assert found["100 - WER"] == pytest.approx(100 - np.mean(rates))
    assert found["100 - WER, parsed only"] == pytest.approx(found["100 - WER"])


def test_utterance_wer_without_words():
    records = [opened("", "one two", "a"), opened("one two", "one two", "b"), opened("!", "one", "c")]
    found = values(UtteranceWER(), records)
    assert found["100 - WER"] == pytest.approx(100 - 200 / 3)
    assert found["100 - WER, parsed only"] == pytest.approx(100 - 100 / 2)
    assert found["unparsed"] == pytest.approx(100 / 3)
    assert values(UtteranceWER(), [opened("said", "", "a")])["100 - WER"] == 0
    failed = opened("one two", "one two", error="no recording")
    assert values(UtteranceWER(), [failed])["100 - WER"] == 0


def test_the_transcript_in_an_answer():
    assert texts.spoken_content("SPOKEN CONTENT: we left") == "we left"
    assert texts.spoken_content("we left <transcribed text here>") == "we left"
    assert texts.spoken_content("we are content") == "we are content"
    assert texts.spoken_content("a transcript: we left") == "we left"
    assert texts.spoken_content("Spoken Content: Transcript: we left") == "we left"
    assert texts.spoken_content("spoken text: we left <sep> or not") == "we left"


def test_error_rates_are_those_of_jiwer_over_all():
    pairs = [
        ("We left at nine.", "we left at nine"),
        ("He said: never mind", "he said ever"),
        ("Yes", "yes yes yes"),
    ]
    found = values(ErrorRates(), [opened(heard, ref, f"s{i}") for i, (ref, heard) in enumerate(pairs)])
    plain = [("we left at 9", "we left at 9"), ("he said never mind", "he said ever"), ("yes", "yes yes yes")]
    assert found["WER"] == pytest.approx(100 * jiwer.wer(*(list(side) for side in zip(*plain, strict=True))))
    assert found["WER"] == pytest.approx(100 * 4 / 9)
    bare = [(ref.replace(" ", ""), heard.replace(" ", "")) for ref, heard in plain]
    assert found["CER (all)"] == pytest.approx(100 * jiwer.cer(*(list(side) for side in zip(*bare, strict=True))))
    assert found["CER (zh, ja, ko)"] is None


def test_characters_count_in_chinese_japanese_and_korean():
    records = [
        opened("今天天氣好", "今天,天气很好。", "a", "zh-CN"),  # 5 of 6: one other, one missing
        opened("ありがとう", "ありがとう!", "b", "ja"),
        opened("안녕하세요", "안녕 하세요", "c", "ko"),
        opened("hello there", "hello", "d", "en"),
    ]
    found = values(ErrorRates(), records)
    assert found["CER (zh, ja, ko)"] == pytest.approx(100 * 2 / 16)
    assert found["WER"] == 100
    assert found["CER (all)"] == pytest.approx(100 * (2 + 5) / 21)
    assert values(ErrorRates(), [opened("some words", "", "a")])["WER"] is None
    assert values(ErrorRates(), [opened("", "some words", "a")])["WER"] == 100
    assert not ErrorRates.HIGHER


def test_characters_say_the_language_where_no_tag_does():
    for text, code in (("安静地睡觉", "zh"), ("ねむる犬", "ja"), ("개가 잔다", "ko"), ("a dog", "en")):
        assert texts.spoken_language(opened("", text, language="")) == code
    assert texts.spoken_language(opened("", "犬", language="ja-JP")) == "ja"
    assert texts.spoken_language(opened("", "пес", language="bg")) == ""
    assert values(ErrorRates(), [opened("安静地", "安静地睡觉", language="")])["CER (zh, ja, ko)"] == 40


GERMAN = [
    ("der Hund schläft im Garten", "Der Hund schläft in dem Garten"),
    ("wir gehen morgen nach Hause", "wir gehen Hause"),
]
CHINESE = [("狗在花园里睡觉。", "狗在花园睡觉。"), ("我们明天回家。", "我们今天回家。")]


def test_bleu_is_that_of_sacrebleu_for_each_language():
    records = [opened(heard, ref, f"d{i}", "de") for i, (ref, heard) in enumerate(GERMAN)]
    records += [opened(heard, ref, f"c{i}", "zh-CN") for i, (ref, heard) in enumerate(CHINESE)]
    found = values(Bleu(), records)
    expected = {}
    for language, pairs, tokenizer in (("de", GERMAN, "13a"), ("zh", CHINESE, "zh")):
        references, heard = (list(side) for side in zip(*pairs, strict=True))
        expected[language] = sacrebleu.corpus_bleu(heard, [references], lowercase=True, tokenize=tokenizer).score
        assert found[f"BLEU {language}"] == pytest.approx(expected[language])
    assert expected["zh"] > 20
    assert found["BLEU"] == pytest.approx(np.mean(list(expected.values())))
    assert set(found) == {"BLEU", "BLEU de", "BLEU zh"}


def test_bleu_of_japanese_of_another_case_and_of_nothing():
    same = "犬が庭で静かに眠っている。"
    assert values(Bleu(), [opened(same, same, language="ja")])["BLEU"] == pytest.approx(100)
    loud = [opened("THE DOG SLEEPS IN THE GARDEN", "the dog sleeps in the garden", language="en")]
    assert values(Bleu(), loud)["BLEU"] == pytest.approx(100)
    assert values(Bleu(), [opened("", "the dog sleeps", language="xx")]) == {"BLEU": 0, "BLEU other": 0}


def test_rouge_is_that_of_rouge_score():
    pairs = [
        ("The dam leaks and men watch it", "Men are watching the leaking dam"),
        ("A race was won", ""),
        ("", "x"),
    ]
    found = values(Rouge(), [opened(heard, ref, f"s{i}") for i, (ref, heard) in enumerate(pairs)])
    scorer = RougeScorer(["rouge1", "rouge2", "rougeL"], use_stemmer=True)
    scores = [scorer.score(ref, heard) for ref, heard in pairs]
    for name, key in (("ROUGE-1", "rouge1"), ("ROUGE-2", "rouge2"), ("ROUGE-L", "rougeL")):
        assert found[name] == pytest.approx(100 * np.mean([score[key].fmeasure for score in scores]))
    # by hand: "the cat sat" and "the cat ran" share 2 of 3 words and 1 of 2 pairs
    by_hand = values(Rouge(), [opened("the cat ran", "the cat sat")])
    assert by_hand == pytest.approx({"ROUGE-1": 200 / 3, "ROUGE-2": 50, "ROUGE-L": 200 / 3})


def test_counts_by_hand():
    answers = ["2", "There are two speakers.", "I hear 3", "nobody knows", "2.5"]
    found = values(Count(), [opened(answer, "2", f"s{i}") for i, answer in enumerate(answers)])
    assert known(found) == pytest.approx({"N.A": 60, "P.R": 80, "Pr": 75, "M.R": 20})
    lost = values(Count(), [opened("dunno", "2", "a")])
    assert lost == {"N.A": 0, "P.R": 0, "Pr": None, "M.R": 100, UNKNOWN: None}
    assert number("-1 or so") == -1
    assert number("Twenty-one") == 20
    assert number("one of the 12") == 12
    unknown = values(Count(), [opened("2", "many", "a"), opened("many", "many", "b"), opened("3", "3", "c")])
    assert unknown == pytest.approx({"N.A": 100 / 3, "P.R": 200 / 3, "Pr": 50, "M.R": 100 / 3, UNKNOWN: 200 / 3})


def test_ties_between_constants_take_the_first():
    records = [opened("", reference, f"s{i}") for i, reference in enumerate(["3", "1", "3", "1"])]
    assert best_constant(Count(), records) == ("1", 50.0)
    assert best_constant(Judged(), records)[0] == ""


def test_languages_by_hand():
    answers = ["<|de|>", "It is German.", "english", "hard to say", "Deutsch!", "French"]
    found = values(LanguageDetection(), [opened(answer, "de", f"s{i}", "de") for i, answer in enumerate(answers)])
    assert known(found) == pytest.approx({"D.A": 50, "M.R": 100 / 6, "D.E": 100 / 3})
    records = [opened("", code, f"s{i}", code) for i, code in enumerate(["de", "fr", "fr"])]
    assert best_constant(LanguageDetection(), records)[0] == "fr"
    unknown = values(LanguageDetection(), [opened("", "Klingon", language=""), opened("German", "x", "b", "tlh")])
    assert unknown == {"D.A": 0, "M.R": 50, "D.E": 50, UNKNOWN: 100}


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("zh-CN", "zh"),
        ("Mandarin", "zh"),
        ("<|zh-cn|>", "zh"),
        ("The speech is in Chinese (Mandarin).", "zh"),
        ("这是中文。", "zh"),
        ("it is not clear, no idea", ""),
        ("It", "it"),
        ("French, not German", "fr"),
        ("", ""),
    ],
)
def test_what_names_a_language(text, code):
    assert named(text) == code


def test_regions_are_no_languages_of_their_own():
    assert base_code("pt_BR") == "pt"
    assert base_code("en-US") == "en"
    assert base_code("tlh") == ""


def test_emotions_by_hand():
    pairs = [("Reflective", "melancholy"), ("serious", "Melancholy"), ("CALM", "Excited"), ("hm", "Calm")]
    found = values(Emotion(), [opened(answer, ref, f"s{i}") for i, (answer, ref) in enumerate(pairs)])
    assert known(found) == {"St.A": 25, "Re.A": 50, "unparsed": 25}
    assert emotion_class("Negative - Sadness / Reflection") == "Negative-Sadness/Reflection"
    assert emotion_class("the mood is calming") is None
    assert sum(len(labels) for labels in EMOTIONS.values()) == 24
    assert set(EMOTIONS) == set(POLARITIES)
    assert len(set(POLARITIES.values())) == 4
    assert values(Emotion(), [opened("calm", "hungry")]) == {"St.A": 0, "Re.A": 0, "unparsed": 0, UNKNOWN: 100}
    assert values(Emotion(), [opened("hungry", "hungry")])["St.A"] == 0


def test_verdicts_by_hand():
    verdicts = ["YES", "PARTIALLY", "NO", ""]
    records = [opened("x", "y", f"s{i}", verdict=verdict) for i, verdict in enumerate(verdicts)]
    found = values(Judged(), records)
    assert found == pytest.approx({"St.A": 100 / 3, "Re.A": 200 / 3, "judged": 75})
    assert values(Judged(), records[3:]) == {"St.A": None, "Re.A": None, "judged": 0}
    assert values(Judged(), [opened("", "y", error="too long")]) == {"St.A": 0, "Re.A": 0, "judged": 100}


def test_intervals_hold_the_value_and_shrink_with_recordings():
    def widths(count):
        records = [opened("2" if i % 3 else "1", "2", f"s{i}") for i in range(count)]
        found = figures(Count(), records)["N.A"]
        assert found.low < found.value < found.high
        assert (found.samples, found.recordings) == (count, count)
        return found.high - found.low

    assert widths(120) < 0.7 * widths(30)


def test_answers_about_one_recording_are_not_independent():
    def width(per_recording):
        records = [
            opened("2" if i // 10 % 2 else "1", "2", f"s{i}", recording=f"r{i // per_recording}")
            for i in range(120)
        ]
        found = figures(Count(), records)["N.A"]
        assert found.value == 50
        return found.high - found.low

    assert width(10) > 2 * width(1)


def test_the_interval_is_the_binomials():
    records = [opened("2" if i % 2 else "1", "2", f"s{i}") for i in range(200)]
    found = figures(Count(), records)["N.A"]
    assert found.value == 50
    assert found.high - found.low == pytest.approx(2 * 1.96 * 100 * (0.25 / 200) ** 0.5, rel=0.1)


def test_all_alike_still_has_an_interval():
    few = figures(Count(), [opened("2", "2", f"s{i}") for i in range(4)])["N.A"]
    many = figures(Count(), [opened("2", "2", f"s{i}") for i in range(40)])["N.A"]
    assert few.high == many.high == 100
    assert few.low < many.low < 100


def test_differences_are_paired():
    first = [opened("2" if i % 4 else "1", "2", f"s{i}") for i in range(40)]
    second = [opened("2" if i % 2 else "1", "2", f"s{i}") for i in range(40)]
    found = difference(Count(), first, list(reversed(second)))
    assert found.value == pytest.approx(75 - 50)
    assert 0 < found.low < 25 < found.high < 50
    same = difference(Count(), first, list(reversed(first)))
    assert same.value == 0
    assert 0 < same.high < 8  # as little as 40 recordings allow: no draw differs
    assert same.low == -same.high
    assert difference(Count(), first, [opened("2", "2", "another")]) is None
    half = difference(Count(), first, second[:10])
    assert half.samples == 10


def test_only_what_both_judged_is_compared():
    verdicts = (["YES", "NO", "NO", "NO"], ["YES", "", "", ""])
    first, second = (
        [opened("x", "y", f"s{i}", verdict=each) for i, each in enumerate(those)] for those in verdicts
    )
    found = difference(Judged(), second, first)
    assert (found.value, found.samples) == (0, 1)
    assert difference(Judged(), second[1:], first) is None


@dataclass(frozen=True)
class Lengths(Scorer):
    """The mean length of the answers, of which the shortest is the best."""

    HIGHER = False
    scale: float = 1.0

    @override
    def counts(self, record):
        return self.scale * len(record.answer), 1.0

    @override
    def measure(self, sums):
        return {"length": sums[:, 0] / sums[:, 1]}

    @override
    def constants(self, records):
        return ("ab", "a", "abc")


def test_rounding_is_no_spread():
    found = figures(Lengths(scale=0.9), [opened("x", "", f"s{i}") for i in range(7)])["length"]
    assert found.value == pytest.approx(0.9)
    assert found.high > found.value + 1


def test_the_best_constant_is_the_lowest_where_less_is_better():
    assert best_constant(Lengths(), [opened("x", "")]) == ("a", 1.0)


def test_a_rate_without_bounds_has_no_interval_where_all_agree():
    found = figures(ErrorRates(), [opened("yes it is so", "yes", "a")])["WER"]
    assert found.value == 300
    assert np.isnan([found.low, found.high]).all()
