import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from auricle import loading
from auricle.errors import ModelError, OptionError
from auricle.models.export import export_llm
from auricle.models.mini.adapter import AuricleMini
from fakes import FakeSpeechLM, noise
from models import tiny, tiny_mini
from tiny_llama import TinyLlama


@pytest.fixture
def lm():
    made = AuricleMini(tiny_mini.model(), tiny_mini.processor(), "auricle-mini")
    made.model.generation_config.eos_token_id = made.processor.tokenizer.eos_token_id
    return made


def test_the_llm_reads_a_prompt_as_the_speech_llm_does(lm, tmp_path):
    export_llm(lm, tmp_path / "llm")
    alone = AutoModelForCausalLM.from_pretrained(tmp_path / "llm").eval()
    prompt = lm.prompt(lm.encode(noise(3.0)), lm.query("What is decided?"))
    with torch.inference_mode():
        found = alone(inputs_embeds=prompt.embeds).logits[0]
    torch.testing.assert_close(found, lm.logits(prompt), atol=1e-4, rtol=0)
    assert alone.generation_config.eos_token_id == lm.model.generation_config.eos_token_id
    ids = AutoTokenizer.from_pretrained(tmp_path / "llm")("What is decided?", add_special_tokens=False)["input_ids"]
    assert ids == lm.query("What is decided?").ids.tolist()


def test_it_is_refused(lm, tmp_path):
    (tmp_path / "other").write_text("x")
    with pytest.raises(OptionError, match="already; name a new folder"):
        export_llm(lm, tmp_path)
    for without in (TinyLlama(), FakeSpeechLM()):  # one is its own LLM, the other has none
        with pytest.raises(ModelError, match="holds no LLM"):
            export_llm(without, tmp_path / "llm")


def test_the_tokenizer_has_to_fit(lm, tmp_path):
    lm.processor.tokenizer.add_tokens("one more")
    with pytest.raises(ModelError, match="has 300 tokens, its LLM only 299"):
        export_llm(lm, tmp_path / "llm")
    lm.model.generation_config.eos_token_id = [0, 1]
    with pytest.raises(ModelError, match=r"by the token 2, its model an answer by \[0, 1\]"):
        export_llm(lm, tmp_path / "llm")
    assert not (tmp_path / "llm").exists()


def test_the_weights_hold_all_of_the_llm(lm, tmp_path):
    layer = lm.model.language_model.model.layers[0].self_attn
    layer.q_proj.lora_A = torch.nn.Linear(2, 2)
    with pytest.raises(ModelError, match="without a LoRA"):
        export_llm(lm, tmp_path / "llm")
    audio = tiny.tiny_qwen2_audio()
    with pytest.raises(ModelError, match="with its head"):
        export_llm(loading.load(*audio), tmp_path / "llm")


def test_the_command(lm, run, monkeypatch, tmp_path):
    monkeypatch.setattr(loading, "load", lambda *_, **__: lm)
    code, text, _ = run("models", "export-llm", "mini", "-o", tmp_path / "llm")
    assert code == 0
    assert "vllm serve" in text
    assert (tmp_path / "llm/config.json").exists()
