"""The stages and their commands, with tiny parts in the places of the real ones."""

import json
import shutil
from dataclasses import asdict, replace

import pytest
import torch
from safetensors.torch import load_file

from auricle import loading
from auricle.cli import main
from auricle.errors import ModelError, OptionError, TrainingError, WeightsError
from auricle.models.mini import assembly, wheels
from auricle.models.mini.adapter import AuricleMini
from auricle.models.qwen2_audio import Qwen2Audio
from auricle.summarization.sst import SST_FILE, load_sst
from auricle.summarization.summarizer import Summarization
from auricle.synthesis import SpokenSentence, Turn
from auricle.training import align, compress, instruct, recordings, stages
from auricle.training.loop import Schedule
from auricle.training.recipes import AlignRecipe, CompressRecipe, InstructRecipe, recipe
from auricle.training.recordings import save_shard, shard_path
from auricle.training.stages import run_align, run_compress, run_data, run_instruct
from auricle.training.talks import Question, Talk
from fakes import FakeSpeechLM, noise
from models import tiny, tiny_mini

ALIGN = AlignRecipe(schedule=Schedule(epochs=2.0, learning_rate=1e-2, batch_size=2))
INSTRUCT = InstructRecipe(rank=2, schedule=Schedule(epochs=1.0, learning_rate=1e-2, batch_size=1))
COMPRESS = CompressRecipe(
    rank=2,
    curriculum=((2,), (4,)),
    interval=8,
    schedule=Schedule(epochs=8.0, learning_rate=1e-3, batch_size=1, evaluations=1),
)
TOLD = Talk("lecture", (Turn("spk_1", ("The boat.",)),), (Question("Which?", "boat", ("a", "b", "c")),))
KEPT = Talk("lecture", (Turn("spk_1", ("The sea.",)),), (Question("What?", "sea", ("a", "b", "c")),))
# peft asks transformers for an attribute by its old name.
peft_warns = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")


@pytest.fixture
def tiny_parts(monkeypatch, tmp_path):
    tokenizer = tiny_mini.tokenizer()

    def assemble(base, trained, lora="lora"):
        model = tiny_mini.model()
        model.generation_config.eos_token_id = 2
        model.connector.net[1].bias.data = torch.rand(model.connector.net[1].bias.shape)
        if (trained / lora).is_dir():
            model.language_model = assembly._with_lora(model.language_model, trained / lora)
        if (trained / "connector.safetensors").exists():
            model.connector.load_state_dict(load_file(trained / "connector.safetensors"))
        return model.to(torch.bfloat16), tokenizer

    monkeypatch.setenv("AURICLE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(wheels, "pull", lambda *_: tmp_path)
    monkeypatch.setattr(assembly, "load_tokenizer", lambda _: tokenizer)
    monkeypatch.setattr(assembly, "assemble", assemble)
    monkeypatch.setattr(align, "VALIDATION", 2)
    written = {False: (TOLD,), True: (KEPT,)}
    monkeypatch.setattr(
        stages, "talks", lambda style="plain", *, validation=False: written[validation] if style == "wide" else ()
    )


@pytest.fixture
def data(tmp_path):
    """Three shards: a talk, a sentence, and a talk."""
    said = (SpokenSentence("spk_1", "The boat.", 0.0, 2.0),)
    for index, questions in enumerate((TOLD.questions, (), TOLD.questions)):
        save_shard(shard_path(tmp_path / "data", index), [(noise(2, i), said, questions) for i in range(2)])
    return tmp_path / "data"


def test_a_recipe_of_a_file_and_options(tmp_path):
    config = tmp_path / "align.json"
    config.write_text(json.dumps({"shards": 3, "schedule": {"epochs": 7.0, "seed": 4}, "batch_size": 5}))
    found = recipe(AlignRecipe, config, {"epochs": 2.0, "seed": None, "patience": 9})
    assert found == AlignRecipe(3, replace(align.SCHEDULE, epochs=2.0, seed=4, batch_size=5, patience=9))
    assert recipe(InstructRecipe, None, {}) == InstructRecipe()
    assert recipe(InstructRecipe, None, {"rank": 8, "learning_rate": 0.5}) == InstructRecipe(
        rank=8, schedule=replace(instruct.SCHEDULE, learning_rate=0.5)
    )


def test_what_is_noted_is_a_recipe(tmp_path):
    config = tmp_path / "instruct.json"
    config.write_text(json.dumps(asdict(INSTRUCT)))
    assert recipe(InstructRecipe, config, {}) == INSTRUCT


def test_a_field_that_no_recipe_has(tmp_path):
    with pytest.raises(OptionError, match=r"no 'rank'; expected some of accumulation, .*shards"):
        recipe(AlignRecipe, None, {"rank": 2})
    with pytest.raises(OptionError, match="batch_size is 0"):
        recipe(AlignRecipe, None, {"batch_size": 0})


@pytest.mark.parametrize("text", ["{", "[]", "3", '{"schedule": 3}', None])
def test_a_file_that_is_no_recipe(tmp_path, text):
    config = tmp_path / "align.json"
    if text is not None:
        config.write_text(text)
    with pytest.raises(OptionError, match=r"align.json' is no recipe \(.*\); expected a JSON object"):
        recipe(AlignRecipe, config, {})


def test_data(tiny_parts, tmp_path, monkeypatch):
    given = []
    monkeypatch.setattr(recordings, "build", lambda *options: given.append(options) or iter(()))
    run_data(tmp_path / "data", 3, 2, 5)
    ((made, *others),) = given
    assert others == [tmp_path / "data", 3, 2]
    assert (made.voices_files, made.seed) == (tmp_path, 5)
    assert made.words == ("boat", "the")
    assert json.loads((tmp_path / "data" / "data.json").read_text())["seed"] == 5
    with pytest.raises(TrainingError, match=r"data.json' says that this began with another seed; go on with the"):
        run_data(tmp_path / "data", 3, 2, 6)


@peft_warns
def test_both_stages(tiny_parts, data, tmp_path):
    output = tmp_path / "run"
    run_align(data, output, replace(ALIGN, shards=2))
    assert len(list((output / "features").glob("*.safetensors"))) == 2
    trained, fresh = load_file(output / "connector.safetensors"), tiny_mini.model().connector.state_dict()
    assert trained.keys() == fresh.keys()
    assert {weight.dtype for weight in trained.values()} == {torch.bfloat16}
    assert not any(torch.equal(weight, fresh[name].bfloat16()) for name, weight in trained.items())
    assert recipe(AlignRecipe, output / "align.json", {}) == replace(ALIGN, shards=2)

    run_instruct(data, output, INSTRUCT, {})
    weights = load_file(output / "lora" / "adapter_model.safetensors")
    assert {weight.dtype for weight in weights.values()} == {torch.bfloat16}
    assert any(weight.any() for name, weight in weights.items() if "lora_B" in name)
    assert recipe(InstructRecipe, output / "instruct.json", {}) == INSTRUCT
    with pytest.raises(
        TrainingError, match=r"lora' is trained already; to train again, remove it and '.*instruct'"
    ):
        run_instruct(data, output, INSTRUCT, {})
    with pytest.raises(TrainingError, match=r"connector.safetensors' is trained already; .*align'"):
        run_align(data, output, ALIGN)

    (output / "lora").rename(tmp_path / "before")
    shutil.rmtree(output / "instruct")
    (output / "instruct.json").unlink()
    start = replace(INSTRUCT, start=str(tmp_path / "before"), schedule=replace(INSTRUCT.schedule, epochs=0.0))
    run_instruct(data, output, start, {})
    again = load_file(output / "lora" / "adapter_model.safetensors")
    assert all(torch.equal(again[name], weight) for name, weight in weights.items())
    shutil.rmtree(output / "lora")
    with pytest.raises(WeightsError, match=r"before' has rank 2 and alpha 4; expected 3 and 6"):
        run_instruct(data, output, replace(start, rank=start.rank + 1), {})
    with pytest.raises(WeightsError, match="'nowhere' holds no LoRA to go on from"):
        run_instruct(data, output, replace(start, start="nowhere"), {})
    other = AuricleMini(tiny_mini.model(num_hidden_layers=1), tiny_mini.processor(), "other")
    with pytest.raises(WeightsError, match="is of another model than other"):
        instruct.adapt(other, 2, 0, weights)


@peft_warns
def test_ssts_are_trained_for_what_was_tuned(tiny_parts, data, tmp_path):
    output = tmp_path / "run"
    run_align(data, output, ALIGN)
    with pytest.raises(TrainingError, match="holds no lora; run 'auricle train instruct' first"):
        run_compress(data, output, "sst", COMPRESS, {})
    run_instruct(data, output, INSTRUCT, {})
    run_compress(data, output, "sst", COMPRESS, {})
    run_compress(data, output, "pool", replace(COMPRESS, placement="pool"), {})
    assert recipe(CompressRecipe, output / "sst" / "compress.json", {}) == COMPRESS
    lm = loading.load(output / "model")
    sst, trained = load_sst(lm, output / "sst")
    assert Summarization(**trained) == Summarization(interval=8)
    assert sst.rank == 2
    assert any(weight.any() for name, weight in sst.named_parameters() if name.endswith("up.weight"))
    with pytest.raises(TrainingError, match="sst' is trained already; remove it, or give another name"):
        run_compress(data, output, "sst", COMPRESS, {})


def test_a_placement_that_is_not_known():
    with pytest.raises(OptionError, match="placement is 'between'; expected one of recall, anchor"):
        recipe(CompressRecipe, None, {"placement": "between"})


@pytest.mark.parametrize("curriculum", [(), ((),), ((2, 0),)])
def test_a_curriculum_without_ratios(curriculum):
    with pytest.raises(OptionError, match="expected ratios of at least 1 for each phase"):
        CompressRecipe(curriculum=curriculum)


@pytest.mark.parametrize("given", [[2, 4], [["2"]], [[2.5]], [[True]], [[2], None], 3, "24", None, {"2": 4}])
def test_a_file_with_a_curriculum_that_is_none(tmp_path, given):
    (tmp_path / "compress.json").write_text(json.dumps({"curriculum": given}))
    with pytest.raises(OptionError, match="expected a list of whole ratios for each phase") as error:
        recipe(CompressRecipe, tmp_path / "compress.json", {})
    assert f"curriculum is {given!r};" in str(error.value)


@peft_warns
def test_what_was_trained_can_be_loaded(tiny_parts, data, tmp_path):
    output = tmp_path / "run"
    run_align(data, output, ALIGN)
    run_instruct(data, output, INSTRUCT, {})
    lm = loading.load(output / "model")
    assert isinstance(lm, AuricleMini)
    fresh = tiny_mini.model().language_model.state_dict()
    assert not all(torch.equal(fresh[n], w.float()) for n, w in lm.model.language_model.state_dict().items())
    trained = load_file(output / "connector.safetensors")
    assert all(torch.equal(trained[n], w.bfloat16()) for n, w in lm.model.connector.state_dict().items())


@peft_warns
def test_another_run_does_not_go_on(tiny_parts, data, tmp_path, monkeypatch):
    """Neither with another recipe, nor with what another connector heard."""
    output = tmp_path / "run"
    killed_at(monkeypatch, align, "train_connector", 1, lambda: run_align(data, output, ALIGN))
    with pytest.raises(TrainingError, match=r"align.json' says that this began with another schedule; go on"):
        run_align(data, output, replace(ALIGN, schedule=replace(ALIGN.schedule, epochs=3.0)))
    run_align(data, output, ALIGN)
    killed_at(monkeypatch, instruct, "instruct", 1, lambda: run_instruct(data, output, INSTRUCT, {}))
    with pytest.raises(TrainingError, match=r"instruct.json' says that this began with another rank"):
        run_instruct(data, output, replace(INSTRUCT, rank=4), {})
    content = (output / "connector.safetensors").read_bytes()
    (output / "connector.safetensors").write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(TrainingError, match=r"source.json' says that this began with another connector"):
        run_instruct(data, output, INSTRUCT, {})


def test_a_seed_makes_the_same_connector(tiny_parts, data, tmp_path, monkeypatch):
    made = []
    monkeypatch.setattr(align, "train_connector", lambda c, *_: made.append(c.net[1].bias.tolist()))
    for run, seed in enumerate((0, 0, 1)):
        run_align(data, tmp_path / str(run), replace(ALIGN, schedule=replace(ALIGN.schedule, seed=seed)))
    assert made[0] == made[1] != made[2]


@peft_warns
def test_any_speech_lm_is_instructed(tiny_parts, data, tmp_path, monkeypatch):
    given = []

    def load(name, **options):
        given.append((name, options))
        lm = Qwen2Audio(*tiny.tiny_qwen2_audio())
        lm.model.generation_config.eos_token_id = 2
        return lm

    monkeypatch.setattr(loading, "load", load)
    run_instruct(data, tmp_path / "run", replace(INSTRUCT, model="some/model"), {"dtype": "float32"})
    assert given == [("some/model", {"dtype": "float32"})]
    weights = load_file(tmp_path / "run" / "lora" / "adapter_model.safetensors")
    assert any(weight.any() for name, weight in weights.items() if "lora_B" in name)
    shutil.rmtree(tmp_path / "run" / "lora")
    with pytest.raises(TrainingError, match=r"instruct.json' says that this began with another model"):
        run_instruct(data, tmp_path / "run", replace(INSTRUCT, model="other"), {})


def test_what_is_learned(tiny_parts, data, tmp_path, monkeypatch):
    """What is heard, what is read, and what is invented."""
    monkeypatch.setattr(stages.loading, "load", lambda _: Qwen2Audio(*tiny.tiny_qwen2_audio()))
    given = []
    monkeypatch.setattr(stages.instruct, "adapt", lambda *_: None)
    monkeypatch.setattr(stages.instruct, "instruct", lambda lm, _, *sets: given.append(sets) or stop())
    with pytest.raises(KeyboardInterrupt):
        run_instruct(data, tmp_path / "run", replace(INSTRUCT, model="m", read=3, invented=2), {})
    ((train, kept, output, schedule),) = given
    asked = [lesson.asked[0].question for lesson in train]
    assert asked[:9] == ["Which?"] * 2 + ["Transcribe the speech."] * 2 + ["Which?"] * 5
    assert len(asked) == 11
    assert all(lesson.asked and not one.wrong for lesson in train[9:] for one in lesson.asked)
    assert [lesson.asked[0].question for lesson in kept] == ["What?"]
    assert (output, schedule) == (tmp_path / "run" / "instruct", INSTRUCT.schedule)


def stop(*_, **__):
    raise KeyboardInterrupt


def killed_at(monkeypatch, module, name, calls, action):
    """An action that is killed when it calls a function for the n-th time."""
    real, made = getattr(module, name), []

    def counted(*given):
        made.append(given)
        return real(*given) if len(made) < calls else stop()

    with monkeypatch.context() as patch:
        patch.setattr(module, name, counted)
        with pytest.raises(KeyboardInterrupt):
            action()


def check_kills(monkeypatch, action, folder, encoder, trainer):
    """Killed while it encodes and before it trains; what was encoded is not encoded again."""
    killed_at(monkeypatch, *encoder, 2, action)
    stamps = {path: path.stat().st_mtime_ns for path in folder.glob("*.safetensors")}
    assert len(stamps) == 1
    killed_at(monkeypatch, *trainer, 1, action)
    assert {path: path.stat().st_mtime_ns for path in stamps} == stamps
    assert len(list(folder.glob("*.safetensors"))) == 3
    action()


def same(one, other):
    first, second = load_file(one), load_file(other)
    return first.keys() == second.keys() and all(torch.equal(w, second[name]) for name, w in first.items())


@peft_warns
def test_kills(tiny_parts, data, tmp_path, monkeypatch):
    """The weights are those of a run that was not killed."""
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    run_align(data, whole, ALIGN)
    run_instruct(data, whole, INSTRUCT, {})
    check_kills(
        monkeypatch,
        lambda: run_align(data, killed, ALIGN),
        killed / "features",
        (align, "encode_shard"),
        (align, "train_connector"),
    )
    assert same(whole / "connector.safetensors", killed / "connector.safetensors")
    check_kills(
        monkeypatch,
        lambda: run_instruct(data, killed, INSTRUCT, {}),
        killed / "lessons",
        (instruct, "hear"),
        (instruct, "instruct"),
    )
    assert same(whole / "lora" / "adapter_model.safetensors", killed / "lora" / "adapter_model.safetensors")
    run_compress(data, whole, "sst", COMPRESS, {})
    killed_at(monkeypatch, compress, "fit", 1, lambda: run_compress(data, killed, "sst", COMPRESS, {}))
    killed_at(monkeypatch, compress, "fit", 2, lambda: run_compress(data, killed, "sst", COMPRESS, {}))
    with pytest.raises(TrainingError, match=r"compress.json' says that this began with another curriculum; go on"):
        run_compress(data, killed, "sst", replace(COMPRESS, curriculum=((2,), (8,))), {})
    run_compress(data, killed, "sst", COMPRESS, {})
    assert same(whole / "sst" / SST_FILE, killed / "sst" / SST_FILE)


def test_what_cannot_be_trained(tiny_parts, data, tmp_path, monkeypatch):
    with pytest.raises(TrainingError, match=r"holds no connector.safetensors; run 'auricle train align' first"):
        run_instruct(data, tmp_path / "run", INSTRUCT, {})
    with pytest.raises(TrainingError, match=r"no training recordings in '.*none'; run 'auricle train data' first"):
        run_align(tmp_path / "none", tmp_path / "run", ALIGN)
    monkeypatch.setattr(loading, "load", lambda _: FakeSpeechLM())
    with pytest.raises(ModelError, match="fake cannot be trained; expected a model of transformers"):
        run_instruct(data, tmp_path / "run", replace(INSTRUCT, model="fake"), {})


def test_auricle_mini_takes_no_options(tmp_path):
    with pytest.raises(OptionError, match="leave out dtype"):
        run_instruct(tmp_path, tmp_path, INSTRUCT, {"dtype": "float32", "device": None})


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"epochs": "2"}, "epochs is '2'; expected something like"),
        ({"rank": 2.5}, "rank is 2.5; expected something like"),
        ({"read": True}, "read is True; expected something like"),
        ({"rank": 0}, "rank is 0; expected at least 1"),
        ({"shards": -1}, "shards is -1; expected at least 1"),
        ({"read": -1}, "read is -1; expected at least 0"),
        ({"read": None}, "read is None; expected something like 1"),
        ({"schedule": {"epochs": None}}, "epochs is None; expected something like"),
    ],
)
def test_a_number_that_no_recipe_takes(tmp_path, values, words):
    (tmp_path / "config.json").write_text(json.dumps(values))
    with pytest.raises(OptionError, match=words):
        recipe(InstructRecipe, tmp_path / "config.json", {})


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--help"], ["data", "align", "instruct"]),
        (["data", "--help"], ["--shards", "--processes", "--seed", "--output"]),
        (["align", "--help"], ["--shards", "--config", "--learning-rate", "--batch-size", "--patience", "--seed"]),
        (["instruct", "--help"], ["--invented", "--read", "--rank", "--model", "--dtype", "--data"]),
        (["align", "--help"], ["run's align.json"]),
        (["instruct", "--help"], ["run's instruct.json"]),
        (["compress", "--help"], ["run's compress.json", "--phase", "--one-ratio"]),
    ],
)
def test_help(run, arguments, words):
    code, printed, _ = run("train", *arguments)
    assert code == 0
    assert all(word in " ".join(printed.split()) for word in words)


def test_options_reach_the_stages(monkeypatch, tmp_path):
    given = []
    for name in ("run_data", "run_align", "run_instruct", "run_compress"):
        monkeypatch.setattr(stages, name, lambda *options, name=name: given.append((name, *options)))
    config = tmp_path / "config.json"
    config.write_text('{"shards": 7, "schedule": {"epochs": 9.0, "evaluations": 2}}')
    out = ["--output", str(tmp_path), "--seed", "5"]
    assert main(["train", "data", *out, "--shards", "7", "--processes", "3"]) == 0
    out += ["--data", str(tmp_path / "data"), "--config", str(config), "--batch-size", "4", "--epochs", "2"]
    out += ["--learning-rate", "0.1", "--accumulation", "6", "--patience", "8"]
    assert main(["train", "align", *out]) == 0
    options = [
        "--shards",
        "3",
        "--invented",
        "9",
        "--rank",
        "8",
        "--read",
        "2",
        "--model",
        "a/b",
    ]
    options += ["--evaluations", "3", "--dtype", "float32", "--trust-remote-code"]
    assert main(["train", "instruct", *out, *options]) == 0
    kinds = ["--boundaries", "dynamic", "--placement", "interleave", "--silence", "read"]
    phases = ["--phase", "2,4", "--phase", "8", "--one-ratio", "--interval", "16", "--name", "mine"]
    options = ["--read", "0", "--rank", "6", "--model", "a/b", "--shards", "3", "--dtype", "float32"]
    assert main(["train", "compress", *out, *options, *kinds, *phases, "--evaluations", "4"]) == 0
    schedule = Schedule(2.0, 0.1, 4, accumulation=6, evaluations=2, patience=8, seed=5)
    assert given == [
        ("run_data", tmp_path, 7, 3, 5),
        ("run_align", tmp_path / "data", tmp_path, AlignRecipe(7, schedule)),
        (
            "run_instruct",
            tmp_path / "data",
            tmp_path,
            InstructRecipe(3, read=2, invented=9, rank=8, model="a/b", schedule=replace(schedule, evaluations=3)),
            {"dtype": "float32", "device": None, "trust_remote_code": True},
        ),
        (
            "run_compress",
            tmp_path / "data",
            tmp_path,
            "mine",
            CompressRecipe(
                shards=3,
                read=0,
                rank=6,
                curriculum=((2, 4), (8,)),
                mixed=False,
                interval=16,
                boundaries="dynamic",
                placement="interleave",
                silence="read",
                model="a/b",
                schedule=replace(schedule, evaluations=4),
            ),
            {"dtype": "float32", "device": None},
        ),
    ]


def test_defaults_are_the_recipes(monkeypatch):
    given = []
    monkeypatch.setattr(stages, "run_align", lambda *options: given.append(options[2]))
    monkeypatch.setattr(stages, "run_instruct", lambda *options: given.append(options[2]))
    monkeypatch.setattr(stages, "run_compress", lambda *options: given.extend(options[2:4]))
    assert main(["train", "align"]) == main(["train", "instruct"]) == main(["train", "compress"]) == 0
    assert given == [AlignRecipe(), InstructRecipe(), "sst", CompressRecipe()]


def test_an_error_is_one_sentence(tiny_parts, run, tmp_path):
    code, _, said = run("train", "instruct", "--output", tmp_path / "run")
    assert code == 2
    assert said.count("\n") == 1
