"""The reader of CTranslate2 files, on files that are written here."""

import numpy as np
import pytest
import torch
from transformers import WhisperConfig
from transformers.models.whisper.modeling_whisper import WhisperEncoder

from auricle.errors import WeightsError
from auricle.models.mini import ct2
from models.ct2_writer import CODES, as_ct2, write

DIM, LAYERS = 8, 2


def encoder():
    config = WhisperConfig(
        d_model=DIM,
        encoder_layers=LAYERS,
        encoder_attention_heads=2,
        encoder_ffn_dim=16,
        num_mel_bins=4,
        max_source_positions=10,
    )
    torch.manual_seed(0)
    made = WhisperEncoder(config)
    for weight in made.parameters():  # else norms and biases are all alike
        torch.nn.init.normal_(weight)
    return made.eval()


def test_every_dtype_and_shape_comes_back(tmp_path):
    rng = np.random.default_rng(0)
    given = {f"a/{code}": rng.integers(-9, 9, (2, 3)).astype(code) for code in CODES} | {
        "vector": np.arange(5, dtype=np.float32),
        "scalar": np.array(7, dtype=np.int8),
        "ä": np.zeros((1, 1, 2), np.float16),
    }
    found = ct2.read(write(tmp_path / "model.bin", given))
    assert list(found) == list(given)
    for name, array in given.items():
        assert found[name].dtype == array.dtype
        assert np.array_equal(found[name], array)


def test_the_encoder_comes_back(tmp_path):
    made = encoder()
    state = made.state_dict()
    assert "layers.0.self_attn.k_proj.bias" not in state
    read = ct2.whisper_encoder(ct2.read(write(tmp_path / "model.bin", as_ct2(state))))
    assert read.keys() == state.keys()
    assert all(torch.equal(read[name], state[name]) for name in state)
    other = encoder()
    other.load_state_dict({name: torch.zeros_like(weight) for name, weight in state.items()})
    other.load_state_dict(read)
    features = torch.randn(1, 4, 20)
    assert torch.equal(other(features).last_hidden_state, made(features).last_hidden_state)


def test_half_precision_is_widened(tmp_path):
    variables = {name: array.astype(np.float16) for name, array in as_ct2(encoder().state_dict()).items()}
    read = ct2.whisper_encoder(ct2.read(write(tmp_path / "model.bin", variables)))
    assert {tensor.dtype for tensor in read.values()} == {torch.float32}


def test_a_file_cut_off_anywhere(tmp_path):
    whole = write(tmp_path / "model.bin", {"one": np.arange(6, dtype=np.float32), "two": np.ones(3, np.float16)})
    data = whole.read_bytes()
    for length in range(len(data)):
        (tmp_path / "cut.bin").write_bytes(data[:length])
        with pytest.raises(WeightsError, match=r"cut\.bin' is not a whole CTranslate2 model"):
            ct2.read(tmp_path / "cut.bin")


def test_what_is_no_model(tmp_path):
    with pytest.raises(WeightsError, match="version 5"):
        ct2.read(write(tmp_path / "old.bin", {}, version=5))
    (tmp_path / "zip.bin").write_bytes(b"PK\3\4" * 9)
    with pytest.raises(WeightsError, match="CTranslate2"):
        ct2.read(tmp_path / "zip.bin")
    unknown = write(tmp_path / "model.bin", {"x": np.zeros(1, np.int8)}).read_bytes()
    (tmp_path / "model.bin").write_bytes(unknown[:-6] + b"\x09" + unknown[-5:])  # no such dtype
    with pytest.raises(WeightsError, match="CTranslate2"):
        ct2.read(tmp_path / "model.bin")


@pytest.mark.parametrize("gone", ["encoder/conv2/bias", "encoder/layer_1/ffn/linear_0/weight"])
def test_a_missing_variable_is_named(gone):
    variables = as_ct2(encoder().state_dict())
    del variables[gone]
    with pytest.raises(WeightsError, match=gone.removeprefix("encoder/")):
        ct2.whisper_encoder(variables)


def test_quantized_weights_are_refused():
    """Their scales stand in other variables; read as they are, they would be nonsense."""
    variables = as_ct2(encoder().state_dict())
    variables["encoder/conv1/weight"] = variables["encoder/conv1/weight"].astype(np.int8)
    with pytest.raises(WeightsError, match="int8"):
        ct2.whisper_encoder(variables)
