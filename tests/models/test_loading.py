"""From a folder, a name or a loaded model to an adapter, and what is said where that is impossible."""

import inspect
import json
import sys
from functools import partial
from types import ModuleType

import pytest
import torch
import transformers
from transformers import Gemma3nConfig

from auricle.errors import (
    MissingDependencyError,
    ModelError,
    OptionError,
    UnknownNameError,
    UnprunableModelError,
)
from auricle.loading import UNPRUNABLE, adapt, load
from auricle.models.audio_flamingo3 import AudioFlamingo3
from auricle.models.fun_asr_nano import FunAsrNano
from auricle.models.glm_asr import GlmAsr
from auricle.models.granite_speech import GraniteSpeech
from auricle.models.music_flamingo import MusicFlamingo
from auricle.models.qwen2_5_omni import Qwen25Omni
from auricle.models.qwen2_audio import Qwen2Audio
from auricle.models.qwen3_asr import Qwen3ASR
from auricle.models.qwen3_omni_moe import Qwen3OmniMoe
from auricle.registry import MODELS
from models import checks, tiny, tiny_fun, tiny_glm, tiny_granite, tiny_omni, tiny_qwen3_asr, tiny_qwen3_omni

QUESTION = "What is decided?"


def needing_torchaudio(build):
    pytest.importorskip("torchaudio", reason="the feature extractor needs torchaudio", exc_type=ImportError)
    return build()


SAVED = {
    "Qwen2AudioForConditionalGeneration": (tiny.tiny_qwen2_audio, Qwen2Audio),
    "AudioFlamingo3ForConditionalGeneration": (tiny.tiny_audio_flamingo3, AudioFlamingo3),
    "MusicFlamingoForConditionalGeneration": (tiny.tiny_music_flamingo, MusicFlamingo),
    "GlmAsrForConditionalGeneration": (tiny_glm.tiny_glm_asr, GlmAsr),
    "GraniteSpeechPlusForConditionalGeneration": (
        partial(needing_torchaudio, partial(tiny_granite.tiny_granite, plus=True)),
        GraniteSpeech,
    ),
    "FunAsrNanoForConditionalGeneration": (
        partial(needing_torchaudio, tiny_fun.tiny_fun_asr_nano),
        FunAsrNano,
    ),
    "Qwen3ASRForConditionalGeneration": (tiny_qwen3_asr.tiny_qwen3_asr, Qwen3ASR),
}


@pytest.fixture(scope="module", params=SAVED)
def saved(request, tmp_path_factory):
    """A folder as save_pretrained writes it, its model, and its adapter."""
    build, adapter = SAVED[request.param]
    model, processor = build()
    folder = tmp_path_factory.mktemp(request.param)
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder, (model, processor), adapter


def config_only(folder, **config):
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def logits(lm):
    return lm.logits(lm.prompt(lm.encode(checks.noise(2)), lm.query(QUESTION)))


def test_from_a_folder(saved):
    folder, loaded, adapter = saved
    for name in (folder, str(folder)):
        lm = load(name)
        assert type(lm) is adapter
        assert lm.name == str(folder)
    assert torch.equal(logits(lm), logits(load(*loaded)))
    assert not lm.model.training
    assert not any(weight.requires_grad for weight in lm.model.parameters())


def test_from_a_loaded_model(saved):
    _, (model, processor), adapter = saved
    lm = load(model, processor)
    assert type(lm) is adapter
    assert lm.model is model
    assert lm.name == type(model).__name__


@pytest.mark.parametrize("dtype", [torch.bfloat16, "bfloat16", "torch.bfloat16"])
def test_dtype(saved, dtype):
    lm = load(saved[0], dtype=dtype)
    assert {weight.dtype for weight in lm.model.parameters()} == {torch.bfloat16}
    tokens = lm.encode(checks.noise(2))
    prompt = lm.prompt(tokens, lm.query(QUESTION)).keep(torch.arange(0, len(tokens), 2))
    assert prompt.embeds.dtype == torch.bfloat16
    assert torch.isfinite(lm.loglikelihood(prompt, ["A", "the boat"])).all()
    assert isinstance(lm.generate(prompt, max_new_tokens=2), str)


def test_dtype_auto_is_the_checkpoints(saved):
    assert next(load(saved[0], dtype="auto").model.parameters()).dtype == torch.float32


def test_device(saved):
    assert load(saved[0], device="cpu").device == torch.device("cpu")
    mapped = load(saved[0], device_map="cpu")
    assert mapped.device == torch.device("cpu")
    assert torch.equal(logits(mapped), logits(load(*saved[1])))


def test_further_options_reach_the_model(saved):
    assert load(saved[0], attn_implementation="eager").model.config._attn_implementation == "eager"


def test_a_processor_of_ones_own(saved):
    folder, (_, processor), _ = saved
    assert load(folder, processor).processor is processor


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"dtype": "bfloat"}, "no dtype 'bfloat'"),
        ({"dtype": "nn"}, "no dtype 'nn'"),
        ({"device": "gpu"}, "no device 'gpu'"),
        ({"device": "cpu", "device_map": "auto"}, "choose one"),
    ],
)
def test_options_out_of_range(saved, options, words):
    with pytest.raises(OptionError, match=words):
        load(saved[0], **options)


@pytest.mark.skipif(torch.cuda.is_available(), reason="has the device that is asked for")
def test_a_device_that_is_not_there(saved):
    with pytest.raises(ModelError, match="cannot be loaded: "):
        load(saved[0], device="cuda")


def test_a_loaded_model_takes_no_options(saved):
    with pytest.raises(OptionError, match="loaded already; leave out dtype"):
        load(*saved[1], dtype="bfloat16")


def test_a_loaded_model_needs_its_processor(saved):
    with pytest.raises(ModelError, match="without its processor"):
        load(saved[1][0])


@pytest.mark.parametrize("name", ["nobody/no-such-model", "no such model", "./no/such/folder", ""])
def test_not_found(name):
    with pytest.raises(ModelError, match="There is no model"):
        load(name, local_files_only=True)


def test_a_folder_without_a_model(tmp_path):
    with pytest.raises(ModelError, match=r"holds no config\.json"):
        load(tmp_path)


def test_a_damaged_config(tmp_path):
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(ModelError, match=r"config\.json"):
        load(tmp_path)


def test_a_config_without_an_architecture(tmp_path):
    with pytest.raises(ModelError, match="names no architecture"):
        load(config_only(tmp_path, model_type="qwen2_audio"))


def test_an_architecture_without_an_adapter(tmp_path):
    folder = config_only(tmp_path, architectures=["Qwen2AudoForConditionalGeneration"])
    with pytest.raises(UnknownNameError, match="Did you mean 'Qwen2AudioForConditionalGeneration'") as caught:
        load(folder)
    assert all(name in str(caught.value) for name in MODELS)


def test_weights_that_are_missing_or_damaged(saved, tmp_path):
    config = json.loads((saved[0] / "config.json").read_text())
    folder = config_only(tmp_path, **config)
    with pytest.raises(ModelError, match="cannot be loaded"):
        load(folder)
    (folder / "model.safetensors").write_bytes(b"\x10")
    with pytest.raises(ModelError, match="cannot be loaded"):
        load(folder)


def test_a_package_that_is_missing(saved, monkeypatch):
    def needs(*_args, **_kwargs):
        raise ImportError("This processor requires the library nosuchlib.\nMore.")

    monkeypatch.setattr(transformers.AutoProcessor, "from_pretrained", needs)
    with pytest.raises(MissingDependencyError, match=r"nosuchlib\.$"):
        load(saved[0])


def test_gemma3n_is_refused(tmp_path):
    config = Gemma3nConfig(architectures=["Gemma3nForConditionalGeneration"])
    config.save_pretrained(tmp_path)
    with pytest.raises(UnprunableModelError, match="every layer reads inputs made from token ids"):
        load(tmp_path)


@pytest.mark.parametrize("name", UNPRUNABLE)
def test_the_unprunable_are_refused_with_the_reason(tmp_path, name):
    assert name not in MODELS
    with pytest.raises(UnprunableModelError) as caught:
        load(config_only(tmp_path, architectures=[name]))
    assert UNPRUNABLE[name] in str(caught.value)
    with pytest.raises(UnprunableModelError):
        adapt(type(name, (torch.nn.Module,), {})())


@pytest.mark.parametrize("name", [name for name, reason in UNPRUNABLE.items() if "refuses embeddings" in reason])
def test_transformers_refuses_their_embeddings(name):
    prepare = getattr(transformers, name).prepare_inputs_for_generation
    assert "inputs_embeds" not in inspect.signature(prepare).parameters


def test_transformers_accepts_the_others_embeddings():
    """The counterpart: what the table does not refuse for that reason, generates from embeddings."""
    for name in MODELS:
        model_class = getattr(transformers, name, None)
        if model_class is None or name.startswith("Qwen2_5OmniFor"):  # the full model delegates to its thinker
            continue
        prepare = model_class.prepare_inputs_for_generation
        assert "inputs_embeds" in inspect.signature(prepare).parameters, name


def test_a_class_that_derives_from_a_known_one():
    model, processor = tiny.tiny_qwen2_audio()
    model.__class__ = type("MyQwen2Audio", (type(model),), {})
    assert type(load(model, processor)) is Qwen2Audio


def test_code_that_comes_with_the_weights_needs_trust(tmp_path):
    folder = config_only(tmp_path, architectures=["DiVAModel"], model_type="diva")
    with pytest.raises(ModelError, match="trust_remote_code=True"):
        load(folder)


def test_code_that_is_trusted_is_run(tmp_path):
    """A stand-in with code of its own: it must be asked, and only when trusted."""
    (tmp_path / "modeling_own.py").write_text(
        "from transformers import PreTrainedConfig, PreTrainedModel\n"
        "class OwnConfig(PreTrainedConfig):\n    model_type = 'own'\n"
        "class DiVAModel(PreTrainedModel):\n"
        "    config_class = OwnConfig\n"
        "    @classmethod\n"
        "    def from_pretrained(cls, *args, **kwargs):\n"
        "        raise ValueError('own code ran')\n"
    )
    code = {"AutoConfig": "modeling_own.OwnConfig", "AutoModel": "modeling_own.DiVAModel"}
    folder = config_only(tmp_path, architectures=["DiVAModel"], model_type="own", auto_map=code)
    with pytest.raises(ModelError, match="own code ran"):
        load(folder, trust_remote_code=True)


@pytest.mark.parametrize(
    ("name", "omni", "adapter"),
    [
        ("Qwen2_5OmniForConditionalGeneration", tiny_omni, Qwen25Omni),
        ("Qwen2_5OmniModel", tiny_omni, Qwen25Omni),
        ("Qwen3OmniMoeForConditionalGeneration", tiny_qwen3_omni, Qwen3OmniMoe),
    ],
)
def test_of_omni_only_the_thinker_is_loaded(tmp_path, name, omni, adapter, monkeypatch):
    whole = omni.full()
    whole.save_pretrained(tmp_path)
    monkeypatch.setattr(type(whole), "from_pretrained", None)
    config = json.loads((tmp_path / "config.json").read_text())
    lm = load(config_only(tmp_path, **(config | {"architectures": [name]})), omni.processor())
    assert type(lm) is adapter
    assert type(lm.model) is type(whole.thinker)
    expected = whole.thinker.state_dict()
    assert lm.model.state_dict().keys() == expected.keys()
    assert all(torch.equal(weight, expected[key]) for key, weight in lm.model.state_dict().items())


@pytest.mark.parametrize("name", ["mini", "auricle-mini"])
def test_mini_by_name(monkeypatch, name):
    class AuricleMini:
        @classmethod
        def load(cls, **options):
            raise ModelError(f"asked for {options}")

    module = ModuleType("auricle.models.mini.adapter")
    module.AuricleMini = AuricleMini
    monkeypatch.setitem(sys.modules, module.__name__, module)
    with pytest.raises(ModelError, match=r"asked for \{'dtype': torch\.bfloat16\}"):
        load(name, dtype="bfloat16")
    with pytest.raises(ModelError, match=r"asked for \{'device_map': 'auto'\}"):
        load(name, dtype="auto", device_map="auto")
    with pytest.raises(OptionError, match="no option revision"):
        load(name, revision="main")
