"""What Whisper's decoder writes, against a plain reference, and on decoders that want one thing only."""

import pytest
import torch
from transformers import WhisperConfig
from transformers.modeling_outputs import BaseModelOutput
from transformers.models.whisper.modeling_whisper import WhisperDecoder

from auricle.models.mini.writing import LEAST, MOST, SPARE, Script, letters, write
from models import tiny_mini

SCRIPT = Script(("Ġone", "Ġsixteen", "Ġtwo", ".", "Ġ7", "Ã©", "<end>", "<start>", "<now>"), (7, 8), 6)
ONE, SIXTEEN, TWO, DOT, SEVEN, FRENCH, END = range(7)
STEPS = 20


class Wants(WhisperDecoder):
    """Writes the same, in order of preference, at every step; it counts what it is asked."""

    def __init__(self, *wanted):
        sizes = {
            "d_model": len(SCRIPT.pieces) + 1,  # one without a name
            "vocab_size": len(SCRIPT.pieces) + 1,
            "max_target_positions": len(SCRIPT.prompt) + STEPS,
            "decoder_layers": 1,
            "decoder_attention_heads": 1,
            "decoder_ffn_dim": 1,
        }
        ids = {f"{name}_token_id": 0 for name in ("pad", "bos", "eos", "decoder_start")}
        super().__init__(WhisperConfig(**sizes, **ids))
        scores = torch.zeros(len(SCRIPT.pieces) + 1)
        for score, token in enumerate(reversed(wanted), 1):
            scores[token] = score
        scores[-1] = 100
        self.scores, self.asked = scores, []
        self.embed_tokens.weight.data = torch.eye(len(scores))

    def forward(self, input_ids, **_):
        self.asked.append(input_ids.tolist())
        return BaseModelOutput(last_hidden_state=self.scores.expand(*input_ids.shape, -1))


def written(decoder, *heard):
    return write(decoder, torch.zeros(len(heard), 4, decoder.config.d_model), heard, SCRIPT)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", 0),
        ("ĠHelloĠthere.", 10),
        ("Ġ", 0),
        (".,:;?!-", 0),
        ("Ġit's", 4),
        ("Ġ1989", 16),
        ("Ġ$5", 11),
        ("Ġ40%", 15),
        ("ĠA&B", 5),
    ],
)
def test_letters_when_read_aloud(text, expected):
    assert letters(text) == expected


def test_letters_of_every_token():
    assert SCRIPT.letters.tolist() == [3, 7, 3, 0, 4, -1, -1, -1, -1]
    unwritten = ("Ġ", "ĠĠthe", "aĠb", "(", "Ġ[", "Ċ", "", "ä", "Ġ*")
    assert Script(unwritten, (), 0).letters.tolist() == [-1] * len(unwritten)


@pytest.mark.parametrize("heard", [(0,), (0, 0, 0)])
def test_nothing_heard(heard):
    decoder = Wants(ONE)
    assert written(decoder, *heard) == [[] for _ in heard]
    assert decoder.asked == []


def test_nothing_is_written_beside_those_who_speak():
    assert written(Wants(END, ONE), 0, 3, 0) == [[], [ONE], []]


@pytest.mark.parametrize("heard", [1, 3, 10, 33])
def test_it_does_not_end_before_the_least(heard):
    (row,) = written(Wants(END, ONE), heard)
    assert set(row) == {ONE}
    assert 3 * (len(row) - 1) < LEAST * heard <= 3 * len(row)


@pytest.mark.parametrize("heard", [1, 3, 10, 24])
def test_it_does_not_go_on_beyond_the_most(heard):
    (row,) = written(Wants(TWO, END), heard)
    assert set(row) == {TWO}
    assert 3 * len(row) <= MOST * heard + SPARE < 3 * (len(row) + 1)


def test_a_token_that_says_too_much_ends_it():
    """ "Ġsixteen" fits into 7 letters heard and 8 to spare two times, not three times."""
    assert MOST * 7 + SPARE < 21
    assert written(Wants(SIXTEEN, ONE, END), 7) == [[SIXTEEN, SIXTEEN]]


def test_digits_count_as_they_are_read():
    assert written(Wants(END, SEVEN), 16) == [[SEVEN] * 4]


def test_what_is_not_writable_is_never_written():
    assert written(Wants(FRENCH, *SCRIPT.prompt, END, TWO), 3) == [[TWO]]


def test_it_stops_at_the_last_position():
    """Where neither the end comes nor a letter."""
    decoder = Wants(DOT)
    assert written(decoder, 5, 900) == [[DOT] * STEPS] * 2
    assert decoder.asked == [[list(SCRIPT.prompt)] * 2, *[[[DOT]] * 2] * (STEPS - 1)]


def test_it_stops_when_all_have_ended():
    decoder = Wants(END, ONE)
    assert written(decoder, 6, 12, 0) == [[ONE] * 2, [ONE] * 4, []]
    assert decoder.asked[1:] == [
        [[ONE], [ONE], [END]],
        [[ONE], [ONE], [END]],
        [[END], [ONE], [END]],
        [[END], [ONE], [END]],
    ]


@torch.no_grad()
def plain(decoder, states, heard, script):
    """One window, the decoder anew over the whole prefix at every step."""
    ids, count = list(script.prompt), 0
    why = "no position is left"
    while heard and len(ids) < decoder.max_target_positions:
        out = decoder(input_ids=torch.tensor([ids]), encoder_hidden_states=states[None]).last_hidden_state
        scores = (decoder.embed_tokens.weight @ out[0, -1]).tolist()
        allowed = [token for token, piece in enumerate(script.pieces) if script.letters[token] >= 0]
        if count >= 0.88 * heard:
            allowed.append(script.end)
        best = max(allowed, key=scores.__getitem__)
        if best == script.end:
            why = "it ends"
            break
        count += letters(script.pieces[best])
        if count > 1.3 * heard + 8:
            why = "it is too much"
            break
        ids.append(best)
    return ids[len(script.prompt) :], why


@pytest.fixture(scope="module")
def tiny():
    """A decoder, its vocabulary, and states of five windows."""
    model = tiny_mini.model()
    with torch.no_grad():  # so that it ends now and then of its own accord
        model.audio_decoder.embed_tokens.weight[model.script.end] *= 1.5
    return model.audio_decoder, torch.randn(5, 20, 16, generator=torch.Generator().manual_seed(2)), model.script


HEARD = (9, 0, 300, 2, 30)


def test_equals_a_plain_reference(tiny):
    decoder, states, script = tiny
    expected = [plain(decoder, *each, script) for each in zip(states, HEARD, strict=True)]
    with torch.no_grad():
        assert write(decoder, states, HEARD, script) == [row for row, _ in expected]
    assert {why for _, why in expected} == {"it ends", "it is too much", "no position is left"}
    assert len({token for row, _ in expected for token in row}) > 15


def test_a_batch_equals_its_rows_alone(tiny):
    decoder, states, script = tiny
    with torch.no_grad():
        rows = write(decoder, states, HEARD, script)
        alone = [write(decoder, states[n : n + 1], HEARD[n : n + 1], script)[0] for n in range(len(HEARD))]
    assert rows == alone
    assert len({tuple(row) for row in rows}) == len(rows)


def test_what_is_said_decides_what_is_written(tiny):
    decoder, states, script = tiny
    with torch.no_grad():
        rows = write(decoder, states, [300] * len(states), script)
    assert len({tuple(row[:10]) for row in rows}) == len(rows)
