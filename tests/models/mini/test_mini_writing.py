"""What Whisper's decoder writes, held to letters that are certain, and against a plain reference."""

import re
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch

from auricle.models.mini.connector import LETTERS
from auricle.models.mini.tracking import STAR, Heard, Prefix
from auricle.models.mini.writing import LETTERS_AHEAD, LIKELIEST, LIMIT, WEIGHT, Script, spoken, write
from models import tiny_mini
from models.tiny_mini import heard

SAID = ("___h_eelll_l_oo_____________t_hh_e_r_e____", "_o_nn_ee_________", "cat_sat", "____________aa_a_aa")
STATES = torch.randn(4, 20, 16, generator=torch.Generator().manual_seed(2))


@pytest.fixture(scope="module")
def tiny():
    """A random decoder and its vocabulary."""
    model = tiny_mini.model()
    return model.audio_decoder, model.script


@torch.no_grad()
def written(decoder, script, *rows, states=STATES):
    return write(decoder, states[: len(rows)], rows, script)


def without_digits(script):
    """Any digit is read in any way."""
    return replace(script, pieces=tuple("(" if STAR in spoken(piece) else piece for piece in script.pieces))


def said(path):
    """The letters of a path and the frames where each begins."""
    begins = [n for n, sign in enumerate(path) if sign != "_" and (n == 0 or path[n - 1] != sign)]
    return "".join(path[n] for n in begins), begins


def noisy(seed, frames):
    """Random letters, most frames blank."""
    logits = np.random.default_rng(seed).normal(scale=3, size=(frames, LETTERS + 1))
    logits[:, LETTERS] += 6
    return Heard(logits - np.logaddexp.reduce(logits, 1, keepdims=True))


@pytest.mark.parametrize(
    ("piece", "expected"),
    [
        ("ĠHello", "hello"),
        ("ĠDr", "doctor"),
        ("Ġdr", "dr"),
        ("dr", "dr"),
        ("Mrs", "missus"),
        ("ĠDrs", "drs"),
        ("%", "percent"),
        ("A&B", "aandb"),
        ("42", STAR * 2),
        ("Ġ$5", STAR),
        ("it's", "it's"),
        ("Ġwell-known.", "wellknown"),
        ("?", ""),
        ("", ""),
    ],
)
def test_spoken(piece, expected):
    assert spoken(piece) == expected


def test_what_is_never_written():
    open_ = ("Ġone", "One", ".", "Ġ7", "Ġ$", "O'Neill")
    shut = ("Ġ", "ĠĠthe", "aĠb", "(", "Ġ[", "Ċ", "", "ä", "Ġ*", "<end>")
    script = Script((*open_, *shut), (), len(open_) + len(shut) - 1)
    assert script.spoken == ("one", "one", "", STAR, "", "o'neill", *[None] * len(shut))
    assert script.closed.tolist() == [False] * len(open_) + [True] * (len(shut) - 1) + [False]
    assert dict(script.spelled) == {"one": (0, 1), "o'neill": (5,)}


@pytest.mark.parametrize("seed", range(6))
def test_it_spells_the_letters_that_are_certain(tiny, seed):
    """Whatever the decoder prefers."""
    decoder, script = tiny[0], without_digits(tiny[1])
    states = torch.randn(4, 20, 16, generator=torch.Generator().manual_seed(seed))
    rows = written(decoder, script, *map(heard, SAID), states=states)
    for row, path in zip(rows, SAID, strict=True):
        assert "".join(script.spoken[token] for token in row.tokens) == said(path)[0]


def test_the_decoder_decides_how_they_are_spelled(tiny):
    decoder, script = tiny[0], without_digits(tiny[1])
    states = torch.randn(8, 20, 16, generator=torch.Generator().manual_seed(3)) * 3
    rows = written(decoder, script, *[heard(SAID[0])] * 8, states=states)
    assert len({row.tokens for row in rows}) > 3


@pytest.mark.parametrize("seed", range(6))
def test_tokens_begin_where_their_letters_do(tiny, seed):
    decoder, script = tiny[0], without_digits(tiny[1])
    states = torch.randn(4, 20, 16, generator=torch.Generator().manual_seed(seed))
    for row, path in zip(written(decoder, script, *map(heard, SAID), states=states), SAID, strict=True):
        begins, letters = said(path)[1], 0
        for token, frame in zip(row.tokens, row.frames, strict=True):
            if script.spoken[token]:
                assert frame == begins[letters]
                letters += len(script.spoken[token])
            else:  # with what stands before it
                assert frame == (begins[letters - 1] if letters else 0)


@pytest.mark.parametrize("seed", range(4))
def test_frames_rise(tiny, seed):
    for row in written(*tiny, *(noisy(10 * seed + n, 60) for n in range(4))):
        assert len(row.frames) == len(row.tokens) > 0
        assert list(row.frames) == sorted(row.frames)
        assert row.frames[0] >= 0
        assert row.frames[-1] < 60


def wanting(decoder, monkeypatch, token, weight):
    """The decoder finds one token by far the likeliest, at every step."""
    forward = decoder.forward

    def wants(**inputs):
        out = forward(**inputs)
        out.last_hidden_state = decoder.embed_tokens.weight[token].expand_as(out.last_hidden_state) * weight
        return out

    monkeypatch.setattr(decoder, "forward", wants)


@pytest.mark.parametrize("wanted", ["Ġthe", "x", "."])
def test_no_letter_is_written_in_silence(tiny, monkeypatch, wanted):
    """However much the decoder wants it."""
    decoder, script = tiny
    wanting(decoder, monkeypatch, script.pieces.index(wanted), 50)
    for row in written(decoder, script, heard("_" * 40), heard("_"), heard("")):
        assert len(row.tokens) <= 1
        assert not any(script.spoken[token] for token in row.tokens)


def test_nothing_is_written_in_silence_where_the_decoder_ends(tiny, monkeypatch):
    decoder, script = tiny
    wanting(decoder, monkeypatch, script.end, 50)
    for row in written(decoder, script, heard("_" * 30), heard("")):
        assert (row.tokens, row.frames) == ((), ())


def test_an_end_before_all_is_written_does_not_count(tiny, monkeypatch):
    decoder, script = tiny[0], without_digits(tiny[1])
    wanting(decoder, monkeypatch, script.end, 50)
    for row, path in zip(written(decoder, script, *map(heard, SAID)), SAID, strict=True):
        assert "".join(script.spoken[token] for token in row.tokens) == said(path)[0]


def test_never_what_is_not_writable(tiny):
    decoder, script = tiny
    rows = written(decoder, script, *(noisy(seed, 60) for seed in range(4)))
    tokens = {token for row in rows for token in row.tokens}
    assert len(tokens) > 8
    assert script.end not in tokens
    assert all(script.spoken[token] is not None for token in tokens)


@pytest.mark.parametrize("wanted", [".", ","])
def test_never_two_tokens_without_letters_in_a_row(tiny, monkeypatch, wanted):
    decoder, script = tiny
    wanting(decoder, monkeypatch, script.pieces.index(wanted), 50)
    rows = written(decoder, script, heard(SAID[0]), heard(SAID[3]), heard("_" * 9))
    for row in rows:
        mute = [not script.spoken[token] for token in row.tokens]
        assert any(mute)
        assert not any(left and right for left, right in pairwise(mute))


def test_digits_stand_for_letters(tiny, monkeypatch):
    decoder, script = tiny
    one, four = script.pieces.index("Ġ1"), script.pieces.index("4")
    wanting(decoder, monkeypatch, four, 50)
    (row,) = written(decoder, script, heard("___f_o_r___"))
    assert {one, four} & set(row.tokens)
    assert row.frames[0] == 3
    letters = "".join(script.spoken[token] for token in row.tokens)
    assert re.fullmatch(letters.replace(STAR, "[a-z]+"), "for")


def test_it_stops_at_the_last_position(tiny):
    decoder, script = tiny[0], without_digits(tiny[1])
    row, other = written(decoder, script, heard("_h_e" * 100), heard("_h_"))
    assert len(row.tokens) == len(row.frames) == 64 - len(script.prompt)
    letters = "".join(script.spoken[token] for token in row.tokens)
    assert letters == ("he" * 100)[: len(letters)]
    assert "".join(script.spoken[token] for token in other.tokens) == "h"


def test_it_stops_when_all_have_ended(tiny, monkeypatch):
    decoder, script = tiny[0], without_digits(tiny[1])
    asked, forward = [], decoder.forward

    def count(**inputs):
        asked.append(inputs["input_ids"].tolist())
        return forward(**inputs)

    monkeypatch.setattr(decoder, "forward", count)
    rows = written(decoder, script, heard(SAID[1]), heard("_" * 20))
    longest = max(len(row.tokens) for row in rows)
    assert asked[0] == [list(script.prompt)] * 2
    assert [step[0][0] for step in asked[1:]] == list(rows[0].tokens)
    assert len(asked) == longest + 1
    assert asked[-1][1] == [script.end]


@torch.no_grad()
def plain(decoder, states, of, script):
    """One window, the decoder anew over all that was written at every step, all tokens to try compared."""
    ids, frames, prefix = list(script.prompt), [], Prefix.empty(of)
    while len(ids) < decoder.max_target_positions:
        out = decoder(input_ids=torch.tensor([ids]), encoder_hidden_states=states[None]).last_hidden_state
        scores = out[0, -1] @ decoder.embed_tokens.weight[: len(script.pieces)].T
        scores[[n for n, letters in enumerate(script.spoken) if letters is None and n != script.end]] = -torch.inf
        logs = scores.log_softmax(-1).tolist()
        ahead = of.ahead(prefix.at, LETTERS_AHEAD)
        tries = {*sorted(range(len(logs)), key=logs.__getitem__)[-LIKELIEST:], script.end}
        tries |= {n for n, letters in enumerate(script.spoken) if letters and ahead.startswith(letters)}
        if frames and script.spoken[ids[-1]] == "":
            tries = {n for n in tries if n == script.end or script.spoken[n]}
        after = dict.fromkeys(tries, prefix)
        for token in tries - {script.end}:
            for letter in script.spoken[token]:
                after[token] = after[token].then(letter)
        change = {token: each.score - prefix.score for token, each in after.items()}
        change[script.end] = prefix.whole - prefix.score
        best = max(tries, key=lambda token: (change[token] > -LIMIT, logs[token] + WEIGHT * change[token]))
        if best == script.end:
            break
        letters = script.spoken[best]
        frames.append(max((prefix.then(letters[0]) if letters else prefix).at - 1, 0))
        ids.append(best)
        prefix = after[best]
    rising = tuple(min(frames[n:]) for n in range(len(frames)))
    return tuple(ids[len(script.prompt) :]), rising


@pytest.mark.parametrize("seed", range(3))
def test_equals_a_plain_reference(tiny, seed):
    decoder, script = tiny
    rows = [noisy(seed, 50), heard(SAID[seed]), noisy(seed + 50, 20), heard("_____")]
    expected = [plain(decoder, states, of, script) for states, of in zip(STATES, rows, strict=True)]
    assert [(row.tokens, row.frames) for row in written(decoder, script, *rows)] == expected
    assert len({token for tokens, _ in expected for token in tokens}) > 8


def test_a_batch_equals_its_rows_alone(tiny):
    rows = [noisy(1, 50), heard(SAID[0]), noisy(2, 20), heard("_____")]
    together = written(*tiny, *rows)
    for n, row in enumerate(rows):
        assert written(*tiny, row, states=STATES[n : n + 1]) == [together[n]]
    assert len({row.tokens for row in together}) == 4


def test_a_row_without_frames(tiny):
    """Nothing can be said in it, and it does not disturb its neighbour."""
    empty, row = written(*tiny, heard(""), heard(SAID[1]))
    assert not any(tiny[1].spoken[token] for token in empty.tokens)
    assert row == written(*tiny, heard(SAID[1]), states=STATES[1:])[0]
