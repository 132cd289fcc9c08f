"""The reader of CTranslate2 files, on files that are written here."""

import copy

import numpy as np
import pytest
import torch
from transformers import WhisperConfig
from transformers.models.whisper.modeling_whisper import WhisperDecoder, WhisperEncoder

from auricle.errors import WeightsError
from auricle.models.mini import ct2
from models.ct2_writer import CODES, as_ct2, write

FEATURES, IDS = torch.randn(1, 4, 20), torch.tensor([[5, 1, 7]])


@pytest.fixture(scope="module")
def whisper():
    """Encoder and decoder, of different depth."""
    config = WhisperConfig(
        d_model=8,
        encoder_layers=2,
        encoder_attention_heads=2,
        encoder_ffn_dim=16,
        decoder_layers=3,
        decoder_attention_heads=2,
        decoder_ffn_dim=12,
        num_mel_bins=4,
        max_source_positions=10,
        max_target_positions=6,
        vocab_size=9,
        pad_token_id=0,
        bos_token_id=0,
        eos_token_id=0,
        decoder_start_token_id=0,
    )
    return fill(WhisperEncoder(config)), fill(WhisperDecoder(config))


def fill(half):
    torch.manual_seed(0)
    for weight in half.parameters():  # else norms and biases are all alike
        torch.nn.init.normal_(weight)
    return half.eval()


@pytest.fixture
def variables(whisper):
    return as_ct2(*(half.state_dict() for half in whisper))


def read_file(path):
    return ct2.read(path.read_bytes(), path.name)


def test_every_dtype_and_shape_comes_back(tmp_path):
    rng = np.random.default_rng(0)
    given = {f"a/{code}": rng.integers(-9, 9, (2, 3)).astype(code) for code in CODES} | {
        "vector": np.arange(5, dtype=np.float32),
        "scalar": np.array(7, dtype=np.int8),
        "ä": np.zeros((1, 1, 2), np.float16),
    }
    found = read_file(write(tmp_path / "model.bin", given))
    assert list(found) == list(given)
    for name, array in given.items():
        assert found[name].dtype == array.dtype
        assert np.array_equal(found[name], array)


def reads(read, half, tmp_path, variables):
    """The half with the weights that are read, after it had others."""
    state = read(read_file(write(tmp_path / "model.bin", variables)))
    expected = half.state_dict()
    assert not any("k_proj.bias" in name for name in expected)
    assert state.keys() == expected.keys()
    assert all(torch.equal(state[name], weight) for name, weight in expected.items())
    other = copy.deepcopy(half)
    other.load_state_dict({name: torch.zeros_like(weight) for name, weight in expected.items()})
    other.load_state_dict(state)
    return other


def test_the_encoder_comes_back(whisper, variables, tmp_path):
    encoder, _ = whisper
    again = reads(ct2.whisper_encoder, encoder, tmp_path, variables)
    assert torch.equal(again(FEATURES).last_hidden_state, encoder(FEATURES).last_hidden_state)


def test_the_decoder_comes_back(whisper, variables, tmp_path):
    encoder, decoder = whisper
    again = reads(ct2.whisper_decoder, decoder, tmp_path, variables)
    states = encoder(FEATURES).last_hidden_state
    written = [each(input_ids=IDS, encoder_hidden_states=states).last_hidden_state for each in (again, decoder)]
    assert torch.equal(*written)


@pytest.mark.parametrize("read", [ct2.whisper_encoder, ct2.whisper_decoder])
def test_half_precision_is_widened(read, variables, tmp_path):
    halved = {name: array.astype(np.float16) for name, array in variables.items()}
    state = read(read_file(write(tmp_path / "model.bin", halved)))
    assert {tensor.dtype for tensor in state.values()} == {torch.float32}


def test_a_file_cut_off_anywhere(tmp_path):
    whole = write(tmp_path / "model.bin", {"one": np.arange(6, dtype=np.float32), "two": np.ones(3, np.float16)})
    data = whole.read_bytes()
    for length in range(len(data)):
        (tmp_path / "cut.bin").write_bytes(data[:length])
        with pytest.raises(WeightsError, match=r"'cut\.bin' is not a whole CTranslate2 model"):
            read_file(tmp_path / "cut.bin")


def test_what_is_no_model(tmp_path):
    with pytest.raises(WeightsError, match="version 5"):
        read_file(write(tmp_path / "old.bin", {}, version=5))
    (tmp_path / "zip.bin").write_bytes(b"PK\3\4" * 9)
    with pytest.raises(WeightsError, match="CTranslate2"):
        read_file(tmp_path / "zip.bin")
    unknown = write(tmp_path / "model.bin", {"x": np.zeros(1, np.int8)}).read_bytes()
    (tmp_path / "model.bin").write_bytes(unknown[:-6] + b"\x09" + unknown[-5:])  # no such dtype
    with pytest.raises(WeightsError, match="CTranslate2"):
        read_file(tmp_path / "model.bin")


@pytest.mark.parametrize(
    ("read", "gone"),
    [
        (ct2.whisper_encoder, "encoder/conv2/bias"),
        (ct2.whisper_encoder, "encoder/layer_1/ffn/linear_1/weight"),
        (ct2.whisper_decoder, "decoder/embeddings/weight"),
        (ct2.whisper_decoder, "decoder/layer_2/attention/linear_1/bias"),
        (ct2.whisper_decoder, "decoder/layer_0/attention/layer_norm/beta"),
    ],
)
def test_a_missing_variable_is_named(read, gone, variables):
    del variables[gone]
    with pytest.raises(WeightsError, match=f"lacks Whisper's variable '{gone}'"):
        read(variables)


@pytest.mark.parametrize(
    ("read", "name"),
    [
        (ct2.whisper_encoder, "encoder/conv1/weight"),
        (ct2.whisper_decoder, "decoder/layer_1/attention/linear_0/weight"),
    ],
)
def test_quantized_weights_are_refused(read, name, variables):
    """Their scales stand in other variables; read as they are, they would be nonsense."""
    variables[name] = variables[name].astype(np.int8)
    with pytest.raises(WeightsError, match=f"'{name}' is int8"):
        read(variables)
