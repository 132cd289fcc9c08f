"""The exported LLM reads as the LLM inside does."""

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig

from auricle import loading
from auricle.errors import ModelError, OptionError
from auricle.models.export import export_llm
from auricle.models.mini.adapter import AuricleMini
from fakes import FakeSpeechLM, noise
from models import (
    tiny,
    tiny_fun,
    tiny_glm,
    tiny_granite,
    tiny_mini,
    tiny_omni,
    tiny_phi4,
    tiny_qwen3_asr,
    tiny_qwen3_omni,
)
from tiny_llama import TinyLlama


def mini():
    return AuricleMini(tiny_mini.model(), tiny_mini.processor(), "auricle-mini")


MODELS = {
    "mini": mini,
    "qwen2-audio": lambda: loading.load(*tiny.tiny_qwen2_audio()),
    "audio-flamingo-3": lambda: loading.load(*tiny.tiny_audio_flamingo3()),
    "music-flamingo": lambda: loading.load(*tiny.tiny_music_flamingo()),
    "glm-asr": lambda: loading.load(*tiny_glm.tiny_glm_asr()),
    "fun-asr-nano": lambda: loading.load(*tiny_fun.tiny_fun_asr_nano()),
    "qwen3-asr": lambda: loading.load(*tiny_qwen3_asr.tiny_qwen3_asr()),
    "tiny-llama": TinyLlama,
}


def ending(lm):
    """With an end of answers, which tiny models have not."""
    tokenizer = getattr(lm.processor, "tokenizer", lm.processor)
    lm.model.generation_config.eos_token_id = [tokenizer.eos_token_id, 0]
    return lm


@pytest.mark.parametrize("name", MODELS)
def test_the_llm_reads_a_prompt_as_the_speech_llm_does(name, tmp_path):
    lm = ending(MODELS[name]())
    before = set(lm.model.state_dict())
    export_llm(lm, tmp_path / "llm")
    assert set(lm.model.state_dict()) == before
    alone = AutoModelForCausalLM.from_pretrained(tmp_path / "llm").eval()
    prompt = lm.prompt(lm.encode(noise(3.0)), lm.query("What is decided?"))
    with torch.inference_mode():
        found = alone(inputs_embeds=prompt.embeds).logits[0]
    torch.testing.assert_close(found, lm.logits(prompt), atol=1e-5, rtol=0)
    ends = lm.model.generation_config.eos_token_id
    assert GenerationConfig.from_pretrained(tmp_path / "llm").eos_token_id == ends == alone.config.eos_token_id
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "llm")
    assert tokenizer.eos_token_id in ends
    assert tokenizer("What is decided?", add_special_tokens=False)["input_ids"] == lm._tokenize("What is decided?")
    assert all(file.stat().st_mode & 0o044 == 0o044 for file in (tmp_path / "llm").iterdir())


def test_weights_keep_their_dtype_and_are_tied_as_inside(tmp_path):
    lm = ending(mini())
    lm.model.to(torch.bfloat16)
    export_llm(lm, tmp_path / "llm")
    alone = AutoModelForCausalLM.from_pretrained(tmp_path / "llm")
    assert alone.dtype == torch.bfloat16
    assert alone.lm_head.weight is alone.get_input_embeddings().weight


def test_what_cannot_run_by_itself_is_refused(tmp_path):
    lora = ending(mini())
    lora.model.language_model.model.layers[0].self_attn.q_proj.lora_A = torch.nn.Linear(2, 2)
    phi = ending(loading.load(*tiny_phi4.tiny_phi4()))
    for lm in (lora, phi):
        with pytest.raises(ModelError, match="not that of a causal language model"):
            export_llm(lm, tmp_path / "llm")
    granite = loading.load(*tiny_granite.tiny_granite())
    omni = loading.load(tiny_omni.thinker(), tiny_omni.processor())
    omni3 = loading.load(tiny_qwen3_omni.thinker(), tiny_qwen3_omni.processor())
    for lm in (granite, omni, omni3, FakeSpeechLM()):
        with pytest.raises(ModelError, match="does more with speech"):
            export_llm(lm, tmp_path / "llm")
    assert not (tmp_path / "llm").exists()


def test_the_tokenizer_has_to_fit(tmp_path):
    lm = ending(mini())
    lm.processor.tokenizer.add_tokens("one more")
    with pytest.raises(ModelError, match="has 300 tokens, its LLM only 299"):
        export_llm(lm, tmp_path / "llm")
    for ends in ([0, 1], None):
        lm.model.generation_config.eos_token_id = ends
        with pytest.raises(ModelError, match="by the token 2, its model an answer by"):
            export_llm(lm, tmp_path / "llm")
    assert not (tmp_path / "llm").exists()


def test_nothing_is_written_over(tmp_path):
    (tmp_path / "other").write_text("x")
    for taken in (tmp_path, tmp_path / "other"):
        with pytest.raises(OptionError, match="already; name a new folder"):
            export_llm(ending(mini()), taken)


def test_the_command(run, monkeypatch, tmp_path):
    asked = []
    monkeypatch.setattr(loading, "load", lambda *_, **options: asked.append(options) or ending(mini()))
    code, text, _ = run("models", "export-llm", "mini", "-o", tmp_path / "llm", "--dtype", "float32")
    assert code == 0
    assert asked[0]["dtype"] == "float32"
    assert "--enable-prompt-embeds" in text
    assert (tmp_path / "llm/model.safetensors").exists()
