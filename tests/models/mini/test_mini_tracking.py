"""How well a prefix agrees with what CTC heard, against plain references: all paths, and a Viterbi over frames."""

from itertools import groupby, product

import numpy as np
import pytest

from auricle.models.mini.connector import ALPHABET, LETTERS
from auricle.models.mini.tracking import STAR, STAR_COST, Heard, Prefix
from models.tiny_mini import heard

SAID = "___h_eelll_l_oo____t_hh_e_r_e____"


def noisy(seed: int, frames: int, only: str = ALPHABET) -> Heard:
    """Random log-probabilities; letters other than these are hardly ever said."""
    logits = np.random.default_rng(seed).normal(scale=3, size=(frames, LETTERS + 1))
    logits[:, [index for index, sign in enumerate(ALPHABET) if sign not in only]] -= 90
    return Heard(logits - np.logaddexp.reduce(logits, 1, keepdims=True))


def prefix(of: Heard, text: str) -> Prefix:
    made = Prefix.empty(of)
    for letter in text:
        made = made.then(letter)
    return made


def logs_of(of: Heard, sign: str) -> list[float]:
    """A space is a blank."""
    logs = of.letters.tolist()
    if sign == "_":
        return [float(np.logaddexp(row[LETTERS], row[0])) for row in logs]
    return [row[ALPHABET.index(sign)] for row in logs]


def best_of_all(of: Heard) -> list[float]:
    """The free path, frame by frame."""
    signs = [logs_of(of, sign) for sign in ("_", *ALPHABET[1:])]
    return [max(column) for column in zip(*signs, strict=True)]


def ends(of: Heard, text: str) -> list[float]:
    """The best alignment of a text with the first 0, 1, ... frames, against the free path, by a plain Viterbi."""
    states = ["_", *(sign for letter in text for sign in (letter, "_"))]
    logs, free = [logs_of(of, sign) for sign in states], best_of_all(of)
    now, found, passed = [0.0] + [-np.inf] * (len(states) - 1), [], 0.0
    for frame in range(len(free) + 1):
        found.append(max(now[-2:]) - passed)
        if frame == len(free):
            break
        before, now = now, []
        for state, sign in enumerate(states):
            best = max(before[max(state - 1, 0) : state + 1])
            if state > 1 and sign not in ("_", states[state - 2]):
                best = max(best, before[state - 2])
            now.append(best + logs[state][frame])
        passed += free[frame]
    return found


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("text", ["", "a", "ab", "aa", "aba", "abba"])
def test_scores_are_those_of_the_best_of_all_paths(seed, text):
    of = noisy(seed, frames=6, only="ab")
    logs, free = {sign: logs_of(of, sign) for sign in "_ab"}, best_of_all(of)
    scores, wholes = [-np.inf], [-np.inf]
    for path in product("_ab", repeat=6):
        for end in range(7):
            if "".join(sign for sign, _ in groupby(path[:end]) if sign != "_") == text:
                score = sum(logs[sign][frame] - free[frame] for frame, sign in enumerate(path[:end]))
                (wholes if end == 6 else scores).append(score)
    made = prefix(of, text)
    assert made.score == pytest.approx(max(scores + wholes))
    assert made.whole == pytest.approx(max(wholes))


@pytest.mark.parametrize("seed", range(40))
def test_scores_equal_a_viterbi_in_loops(seed):
    random = np.random.default_rng(seed)
    of = noisy(seed, frames=int(random.integers(1, 40)))
    text = "".join(random.choice(list("abc'z"), random.integers(0, 9)))
    expected, made = ends(of, text), prefix(of, text)
    assert made.score == pytest.approx(max(expected))
    assert made.whole == pytest.approx(expected[-1])
    if len(text) <= len(of.letters) / 2:
        assert made.at == int(np.argmax(expected))


def test_without_frames():
    of = Heard(np.zeros((0, LETTERS + 1)))
    assert (Prefix.empty(of).score, Prefix.empty(of).whole, Prefix.empty(of).at) == (0, 0, 0)
    assert prefix(of, "a").score == -np.inf
    assert prefix(of, STAR).score == -np.inf
    assert of.ahead(0, 5) == ""


def test_a_letter_twice_needs_a_blank_between():
    assert prefix(heard("_aaaa_"), "aa").score < -10
    assert prefix(heard("_aa_aa_"), "aa").score == pytest.approx(0)
    assert prefix(heard("_aa_aa_"), "a").whole < -10


@pytest.mark.parametrize("text", ["hello", "hellothere"])
def test_the_letters_that_are_said(text):
    made = prefix(heard(SAID), text)
    assert made.score == pytest.approx(0)
    assert (made.whole == pytest.approx(0)) == (text == "hellothere")


@pytest.mark.parametrize("text", ["ello", "helo", "hellohello", "hellothereth", "hellot'here", "hellathere", "x"])
def test_letters_left_out_doubled_or_invented(text):
    assert prefix(heard(SAID), text).score < -10


def test_every_prefix_of_what_is_said_is_free():
    made = Prefix.empty(heard(SAID))
    for letter in "hellothere":
        assert made.whole < -10
        made = made.then(letter)
        assert made.score == pytest.approx(0)
    assert made.whole == pytest.approx(0)


def test_nothing_is_all_that_is_said_in_silence():
    assert Prefix.empty(heard("_____")).whole == pytest.approx(0)
    assert Prefix.empty(heard("__a__")).whole < -10
    assert Prefix.empty(heard("__a__")).score == pytest.approx(0)


def test_at_moves_on():
    places = [prefix(heard(SAID), "hellothere"[:length]).at for length in range(1, 11)]
    for length, place in enumerate(places, 1):
        said = "".join(sign for sign, _ in groupby(SAID[:place]) if sign != "_")
        assert said == "hellothere"[:length]
    assert places == sorted(set(places))


@pytest.mark.parametrize("text", ["h", "he", "hel", "hello", "hellot"])
def test_at_is_before_the_pause(text):
    """All frames of it score the same but for rounding."""
    path = "_h_e__lll" + "_" * 50 + "l" + "_" * 50 + "o" + "_" * 50 + "t" + "_" * 9
    begins = [n for n, sign in enumerate(path) if sign != "_" and sign != path[n - 1]]
    assert prefix(heard(path), text).at == begins[len(text) - 1] + 1


def test_spaces_are_blanks():
    assert heard("a  b_ ").blank == pytest.approx(heard("a__b__").blank)
    assert prefix(heard("a  b_ "), "ab").whole == pytest.approx(0)
    assert heard("a  b_ ").ahead(0, 5) == "ab"


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("text", ["", "a", "ab"])
def test_a_star_is_the_free_path_with_a_letter_at_least(seed, text):
    of = noisy(seed, frames=9, only="ab")
    free, count = np.cumsum([0, *best_of_all(of)]), [len(of.ahead(0, 99)) - len(of.ahead(n, 99)) for n in range(10)]
    before = ends(of, text)
    expected = [-np.inf] * 10
    for start in range(10):
        for end in range(start, 10):
            if count[end] > count[start]:
                cost = STAR_COST * (count[end] - count[start])
                expected[end] = max(expected[end], before[start] - cost)
    made = prefix(of, text + STAR)
    assert made.inside - free == pytest.approx(np.array(expected))
    assert made.score == pytest.approx(max(expected))
    assert made.whole == pytest.approx(expected[-1])


def test_a_star_costs_each_letter():
    of = heard("_f_o_r_t_yy__c_a_t_s_")
    assert prefix(of, STAR).score == pytest.approx(-STAR_COST)
    assert prefix(of, STAR * 2).score == pytest.approx(-2 * STAR_COST)
    assert prefix(of, STAR + "cats").whole == pytest.approx(-5 * STAR_COST)
    assert prefix(of, STAR * 3 + "cats").whole == pytest.approx(-5 * STAR_COST)
    assert prefix(of, STAR).whole == pytest.approx(-9 * STAR_COST)


def test_a_star_takes_a_letter():
    assert prefix(heard("_____"), STAR).score == -np.inf
    assert prefix(heard("_a_"), STAR * 2).score == -np.inf
    assert prefix(heard("_c_a_t_"), "cat" + STAR).score < -10
    assert prefix(heard("_c_a_t_"), STAR + "cat").score < -10


def test_the_letters_ahead():
    of = heard("__h_ii__tt_thh")
    assert of.ahead(0, 99) == "hitth"
    assert of.ahead(0, 2) == "hi"
    assert of.ahead(3, 99) == "itth"
    assert of.ahead(5, 99) == "tth"  # in the middle of a letter is behind it
    assert of.ahead(14, 99) == ""
    assert of.count.tolist() == [0, 0, 0, 1, 1, 2, 2, 2, 2, 3, 3, 3, 4, 5, 5]


def test_free_is_the_best_path_of_all():
    of = noisy(3, frames=30)
    assert of.free == pytest.approx(np.cumsum([0, *best_of_all(of)]))
