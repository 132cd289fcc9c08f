"""The stages and their commands, with tiny parts in the places of the real ones."""

import json
from dataclasses import asdict, replace

import pytest
import torch
from fake_speech import DIM, tiny_encoder
from safetensors.torch import load_file
from transformers.models.whisper.modeling_whisper import WhisperEncoder

from auricle.cli import main
from auricle.errors import TrainingError
from auricle.models.mini import assembly, wheels
from auricle.models.mini.ear import Ear
from auricle.models.mini.pieces import Pieces
from auricle.synthesis import Turn
from auricle.training import speech, stages
from auricle.training.align import AlignRecipe
from auricle.training.instruct import InstructRecipe
from auricle.training.speech import Recording, save_shard, shard_path
from auricle.training.talks import Question, Talk
from auricle.training.voicing import Said
from models import tiny_mini

ALIGN = AlignRecipe(connector_epochs=1.0, epochs=2.0, batch_size=2)
# peft asks transformers for an attribute by its old name.
peft_warns = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")
INSTRUCT = InstructRecipe(batch_size=1, rank=2)


def fake_build(made, make, recipe, folder, shards, processes):
    """Shards of random states: a talk with a question, and a sentence."""
    folder.mkdir(parents=True, exist_ok=True)
    for index in range(shards):
        if not shard_path(folder, index).exists():
            made.append((make, recipe, index))
            about = [
                Recording(((Said("The boat.", 8.0),),), (20,), (("Where?", "Here"),)),
                Recording(((Said("A lamp.", 8.0),),), (30,)),
            ]
            save_shard(shard_path(folder, index), torch.randn(2, 400, 16).bfloat16(), about)
            yield index


@pytest.fixture
def tiny(monkeypatch, tmp_path):
    """Tiny parts; the shards that were made."""
    made = []
    tokenizer = tiny_mini.tokenizer()

    def assemble(base, trained):
        model = tiny_mini.model()
        if (trained / "ear.safetensors").exists():
            Ear(model).load_state_dict(load_file(trained / "ear.safetensors"))
        return model.to(torch.bfloat16), tokenizer

    monkeypatch.setenv("AURICLE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(wheels, "pull", lambda *_: tmp_path)
    monkeypatch.setattr(assembly, "load_tokenizer", lambda _: tokenizer)
    monkeypatch.setattr(assembly, "load_encoder", lambda _: tiny_encoder().state_dict())
    monkeypatch.setattr(assembly, "whisper_config", lambda: tiny_encoder().config)
    monkeypatch.setattr(assembly, "assemble", assemble)
    monkeypatch.setattr(stages, "PIECES_SENTENCES", 50)
    monkeypatch.setattr(stages, "PIECES", 80)
    told = Talk("lecture", (Turn("spk_1", ("The boat.",)),), (Question("Which?", "boat", ("a", "b", "c")),))
    untold = Talk("lecture", (Turn("spk_1", ("The sea.",)),), (Question("What?", "sea", ("a", "b", "c")),))
    monkeypatch.setattr(stages, "talks", lambda style="plain": (told, untold) if style == "plain" else (untold,))
    monkeypatch.setattr(speech, "build", lambda *given: fake_build(made, *given))
    # All pieces that the tiny tokenizer has, so that they fit the tiny model.
    monkeypatch.setattr(stages, "fit", lambda *_: Pieces(dict.fromkeys(tiny_mini.PIECES, -1.0)))
    return made


@peft_warns
def test_both_stages(tiny, tmp_path, monkeypatch):
    monkeypatch.setattr(stages, "TRANSCRIPTIONS", 1.0)
    output = tmp_path / "run"
    stages.run_align(output, 2, 1, ALIGN)
    trained = load_file(output / "ear.safetensors")
    fresh = Ear(tiny_mini.model()).state_dict()
    assert trained.keys() == fresh.keys()
    assert {weight.dtype for weight in trained.values()} == {torch.bfloat16}
    changed = {
        name.split(".")[0] for name, weight in trained.items() if not torch.equal(weight, fresh[name].bfloat16())
    }
    assert changed == {"layers", "layer_norm", "connector"}
    assert [make for make, *_ in tiny] == [speech.make_shard] * 2
    encoder = WhisperEncoder.from_pretrained(output / "encoder")
    assert encoder.dtype == torch.bfloat16
    assert encoder.config.d_model == DIM
    assert Pieces.load(output / "pieces.json").names == tiny_mini.PIECES

    stages.run_instruct(output, 2, 3, INSTRUCT)
    assert (output / "lora" / "adapter_model.safetensors").exists()
    notes = json.loads((output / "recipe.json").read_text())
    assert notes == {
        "align": {**asdict(ALIGN), "shards": 2, "start": None},
        "instruct": {**asdict(INSTRUCT), "invented": 3, "shards": 2},
    }
    with pytest.raises(TrainingError, match="is trained already"):
        stages.run_instruct(output, 2, 3, INSTRUCT)


def test_an_ear_is_trained_on(tiny, tmp_path):
    first, second = tmp_path / "first", tmp_path / "second"
    with pytest.raises(TrainingError, match=r"holds no ear\.safetensors"):
        stages.run_align(second, 1, 1, ALIGN, first)
    assert not second.exists()
    stages.run_align(first, 1, 1, ALIGN)
    (first / "pieces.json").write_text((first / "pieces.json").read_text() + " ")
    resting = replace(ALIGN, connector_learning_rate=0.0, learning_rate=0.0)
    stages.run_align(second, 1, 1, resting, first)
    before, after = load_file(first / "ear.safetensors"), load_file(second / "ear.safetensors")
    assert all(torch.equal(weight, after[name]) for name, weight in before.items())
    assert (second / "pieces.json").read_bytes() == (first / "pieces.json").read_bytes()
    assert json.loads((second / "recipe.json").read_text())["align"]["start"] == {
        **asdict(ALIGN),
        "shards": 1,
        "start": None,
    }


@peft_warns
def test_a_kill_in_stage_two(tiny, tmp_path, monkeypatch):
    """What was read is not read again, and the same is heard."""
    output, trained = tmp_path / "run", []
    stages.run_align(output, 2, 1, ALIGN)

    def killed(llm, data, *others):
        trained.append([one["input_ids"].tolist() for one in data])
        if len(trained) == 2:
            raise KeyboardInterrupt
        instruct(llm, data, *others)

    instruct = stages.instruct
    monkeypatch.setattr(stages, "instruct", killed)
    with pytest.raises(KeyboardInterrupt):
        stages.run_instruct(output, 2, 3, INSTRUCT)
    before = {path: path.read_bytes() for path in (output / "instruct-read").rglob("*") if path.is_file()}
    stages.run_instruct(output, 2, 3, INSTRUCT)
    read, heard, read_again, heard_again = trained
    assert read == read_again != heard == heard_again
    assert {path: path.read_bytes() for path in before} == before
    assert (output / "lora" / "adapter_model.safetensors").exists()


def test_an_ear_is_not_trained_over(tiny, tmp_path):
    stages.run_align(tmp_path, 2, 1, ALIGN)
    with pytest.raises(TrainingError, match=r"is trained already; .* 'lifted', 'align-connector' and 'align-ear'"):
        stages.run_align(tmp_path, 3, 1, ALIGN)


@peft_warns
@pytest.mark.parametrize(("share", "heard"), [(0.0, 2), (1.0, 4)])
def test_how_much_is_transcribed(tiny, tmp_path, monkeypatch, share, heard):
    monkeypatch.setattr(stages, "TRANSCRIPTIONS", share)
    stages.run_align(tmp_path, 2, 1, ALIGN)
    counts = []
    monkeypatch.setattr(stages, "instruct", lambda llm, data, *_: counts.append(len(data)))
    stages.run_instruct(tmp_path, 2, 0, INSTRUCT)
    assert counts == [3, heard]


def test_what_was_prepared_is_not_prepared_again(tiny, tmp_path, monkeypatch):
    first = stages._prepare(tmp_path / "run", 3)
    assert first.seed == 3
    before = {path: path.read_bytes() for path in (tmp_path / "run").rglob("*") if path.is_file()}
    monkeypatch.setattr(assembly, "load_encoder", None)
    monkeypatch.setattr(stages, "fit", None)
    assert stages._prepare(tmp_path / "run", 3) == first
    assert {path: path.read_bytes() for path in before} == before


def test_a_kill_while_preparing(tiny, tmp_path, monkeypatch):
    def killed(*_, **__):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(WhisperEncoder, "save_pretrained", killed)
        with pytest.raises(KeyboardInterrupt):
            stages._prepare(tmp_path / "run", 0)
    assert not (tmp_path / "run" / "encoder").exists()
    stages._prepare(tmp_path / "run", 0)
    assert WhisperEncoder.from_pretrained(tmp_path / "run" / "encoder").config.d_model == DIM


def test_stage_two_needs_stage_one(tiny, tmp_path):
    with pytest.raises(TrainingError, match="run 'auricle train align' to its end first"):
        stages.run_instruct(tmp_path / "run", 1, 1, INSTRUCT)
    assert tiny == []


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--help"], ["align", "instruct"]),
        (
            ["align", "--help"],
            ["--shards", "--connector-epochs", "--learning-rate", "--batch-size", "--processes", "--seed"],
        ),
        (["instruct", "--help"], ["--invented", "--rank", "--output"]),
    ],
)
def test_help(arguments, words, capsys):
    assert main(["train", *arguments]) == 0
    printed = capsys.readouterr().out
    assert all(word in printed for word in words)


def test_options_reach_the_stages(monkeypatch, tmp_path):
    given = []
    monkeypatch.setattr(stages, "run_align", lambda *options: given.append(options))
    monkeypatch.setattr(stages, "run_instruct", lambda *options: given.append(options))
    out = ["--output", str(tmp_path), "--seed", "5", "--batch-size", "4", "--epochs", "2"]
    options = ["--processes", "3", "--shards", "7", "--learning-rate", "0.1", "--connector-learning-rate", "0.3"]
    assert (
        main(["train", "align", *out, *options, "--connector-epochs", "6", "--start", str(tmp_path / "before")])
        == 0
    )
    options = ["--shards", "3", "--invented", "9", "--rank", "8", "--learning-rate", "0.2", "--read-epochs", "7"]
    assert main(["train", "instruct", *out, *options]) == 0
    recipe = AlignRecipe(
        connector_epochs=6.0, epochs=2.0, connector_learning_rate=0.3, learning_rate=0.1, batch_size=4, seed=5
    )
    assert given == [
        (tmp_path, 7, 3, recipe, tmp_path / "before"),
        (
            tmp_path,
            3,
            9,
            InstructRecipe(read_epochs=7.0, epochs=2.0, learning_rate=0.2, batch_size=4, rank=8, seed=5),
        ),
    ]


def test_defaults_are_the_recipes(monkeypatch):
    given = []
    monkeypatch.setattr(stages, "run_align", lambda *options: given.append(options[3]))
    monkeypatch.setattr(stages, "run_instruct", lambda *options: given.append(options[-1]))
    assert main(["train", "align"]) == main(["train", "instruct"]) == 0
    assert given == [AlignRecipe(), InstructRecipe()]


def test_an_error_is_one_sentence(tiny, tmp_path, capsys):
    assert main(["train", "instruct", "--output", str(tmp_path / "run")]) == 2
    assert capsys.readouterr().err.count("\n") == 1
