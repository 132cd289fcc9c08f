"""Stage two: a LoRA on the LLM learns to read speech tokens, to transcribe them and to answer questions on them."""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import torch
from jaxtyping import Float, Int
from peft import LoraConfig, PeftModel, get_peft_model, get_peft_model_state_dict, set_peft_model_state_dict
from peft.tuners.tuners_utils import BaseTunerLayer
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - its usual name

from auricle.asking import encode
from auricle.errors import ModelError, WeightsError
from auricle.evaluation.run import as_tokens
from auricle.models.hugging_face import HuggingFaceSpeechLM
from auricle.speech_lm import AudioTokens
from auricle.training.lessons import IGNORED, Asked, Lesson, Lessons, collate, inputs
from auricle.training.loop import Schedule, fit
from auricle.training.recordings import load_shard
from auricle.training.talks import Talk
from auricle.transcribing import INSTRUCTION

SCHEDULE = Schedule(epochs=2.0, learning_rate=4e-4, batch_size=1, accumulation=8)
FRAMES_PER_SIGN = (0.55, 0.9)  # of 80 ms; from the slowest talk to the fastest
LONGEST_PAUSES = {".": 12, "?": 12, "!": 12, ",": 4}  # in frames, behind a sign


def written(lm: HuggingFaceSpeechLM, text: str, rng: Random | None = None) -> AudioTokens:
    """A text as a perfect ear would hear it: the LLM's own embeddings; in main memory.

    Args:
        lm: whose tokens they are.
        text: what is said.
        rng: draws how fast it is said, with which pauses, as auricle-mini hears them; without, there is no silence.
    """
    tokens = as_tokens(lm, text)
    times = tokens.times
    if rng:
        said = lm.processor.tokenizer.batch_decode(lm.query(text).ids[:, None])
        starts = torch.tensor(paced(said, rng)) / lm.tokens_per_second
        times = torch.stack([starts, starts + 1 / lm.tokens_per_second], 1).float()
    return replace(tokens, embeds=tokens.embeds.cpu(), times=times)


def paced(said: Sequence[str], rng: Random) -> list[int]:
    """The frame in which each token begins: talks, words and pauses last as long as in synthesized speech."""
    frames, now, pace = list[int](), 0, rng.uniform(*FRAMES_PER_SIGN)
    for token in said:
        frames.append(now)
        pause = rng.randint(0, LONGEST_PAUSES.get(token, 0))
        now += max(1, round(len(token) * pace + rng.gauss(0, 1))) + pause
    return frames


def hear(lm: HuggingFaceSpeechLM, shard: Path) -> list[Lesson]:
    """What the Speech LLM's encoder makes of a shard's recordings; single sentences are to be transcribed.

    In main memory.
    """
    lessons = []
    for recording in load_shard(shard):
        asked = tuple(Asked(each.question, each.answer, each.wrong) for each in recording.questions)
        tokens = encode(lm, recording.audio).tokens
        tokens = replace(tokens, embeds=tokens.embeds.cpu())
        lessons.append(Lesson(tokens, asked or (Asked(INSTRUCTION, recording.text),)))
    return lessons


def read(lm: HuggingFaceSpeechLM, talks: Iterable[Talk], rng: Random | None = None) -> list[Lesson]:
    """Talks as a perfect ear would hear them; see `written`."""
    return [
        Lesson(
            written(lm, talk.text, rng),
            tuple(Asked(each.question, each.answer, each.wrong) for each in talk.questions),
            paced=rng is not None,
        )
        for talk in talks
    ]


def adapt(lm: HuggingFaceSpeechLM, rank: int, seed: int, start: Mapping[str, Tensor] | None = None) -> PeftModel:
    """The LLM's layers with a LoRA on all of their linear ones, of which it alone is trained.

    Args:
        lm: the Speech LLM.
        rank: of the LoRA.
        seed: of a new one.
        start: what `read_lora` read of the one to go on from.

    Raises:
        ModelError: the model has a LoRA already, or attention that takes no mask of ours.
        WeightsError: `start` is of another model.
    """
    torch.manual_seed(seed)
    decoder: Any = lm.model.get_decoder()
    if any(isinstance(part, BaseTunerLayer) for part in decoder.modules()):
        raise ModelError(f"{lm.name} has a LoRA already; merge it before another is trained.")
    if (attention := decoder.config._attn_implementation) != "sdpa":
        raise ModelError(f"{lm.name} attends by '{attention}'; load it with attn_implementation='sdpa'.")
    linears = [
        name for name, part in decoder.named_modules() if name.startswith("layers.") and isinstance(part, nn.Linear)
    ]
    decoder.name_or_path = decoder.config.name_or_path = ""  # else the LoRA would name a folder of this machine
    tuned: Any = get_peft_model(decoder, LoraConfig(r=rank, lora_alpha=2 * rank, target_modules=linears))
    if start is not None:
        wanted = {name: weight.shape for name, weight in get_peft_model_state_dict(tuned).items()}
        if {name: weight.shape for name, weight in start.items()} != wanted:
            raise WeightsError(f"The LoRA to go on from is of another model than {lm.name}.")
        set_peft_model_state_dict(tuned, dict(start))
    return tuned  # type: ignore[no-any-return]


def read_lora(folder: Path, rank: int) -> dict[str, Tensor]:
    """The weights of a LoRA that `auricle train instruct` wrote, to go on from.

    Raises:
        WeightsError: there is none in the folder, or one of another rank or scale.
    """
    try:
        about = json.loads((folder / "adapter_config.json").read_text())
        found = load_file(folder / "adapter_model.safetensors")
    except (OSError, ValueError, SafetensorError) as error:
        raise WeightsError(f"'{folder}' holds no LoRA to go on from: {error}") from error
    given = (about.get("r"), about.get("lora_alpha"), about.get("use_rslora", False))
    if given != (rank, 2 * rank, False):
        raise WeightsError(
            f"The LoRA in '{folder}' has rank {given[0]} and alpha {given[1]}; expected {rank} and {2 * rank}."
        )
    return found


def instruct(
    lm: HuggingFaceSpeechLM,
    decoder: PeftModel,
    train: Sequence[Lesson],
    validation: Sequence[Lesson],
    output: Path,
    schedule: Schedule,
) -> None:
    """Trains the LoRA in place; a killed run goes on from its last checkpoint in `output`.

    Args:
        lm: the Speech LLM, of which `decoder` is a part.
        decoder: what `adapt` made.
        train: lessons to learn.
        validation: lessons that are never learned.
        output: checkpoints and logs.
        schedule: how long and how fast.
    """
    given = Lessons(lm, train, schedule.seed)
    kept = Lessons(lm, validation, schedule.seed, vary=False)
    fit(decoder, answer_loss(lm), given, kept, collate, output, schedule)


def answer_loss(lm: HuggingFaceSpeechLM) -> Callable[[nn.Module, dict[str, Any]], Float[Tensor, ""]]:
    """The loss of a batch that `collate` made: see `said_loss`."""

    def loss(decoder: nn.Module, batch: dict[str, Any]) -> Float[Tensor, ""]:
        states = decoder(**inputs(lm, batch), use_cache=False).last_hidden_state
        return said_loss(lm, states, batch["labels"], batch["questions"], batch["answers"])

    return loss


def said_loss(
    lm: HuggingFaceSpeechLM,
    states: Float[Tensor, "batch tokens dim"],
    labels: Int[Tensor, "batch tokens"],
    questions: Int[Tensor, "batch tokens"],
    answers: Int[Tensor, "batch tokens"],
) -> Float[Tensor, ""]:
    """To say the right answers, and to choose them among the wrong ones, in nats.

    The choice leaves out the token that ends an answer, as `loglikelihood` does.
    """
    head: nn.Module = lm.model.get_output_embeddings()
    end = int(lm.answer_ids("")[-1])
    learned = labels != IGNORED
    logits: Tensor = head(states[learned].to(next(head.parameters()).dtype))
    nats = F.cross_entropy(logits.float(), labels[learned], reduction="none")
    right = answers[learned] == 1
    said = labels[learned] != end
    rows, columns = (each[said] for each in learned.nonzero(as_tuple=True))
    place = (rows, questions[rows, columns], answers[rows, columns])
    return nats[right].mean() + choice_loss(nats[said], *place)


def choice_loss(
    nats: Float[Tensor, "tokens"],
    rows: Int[Tensor, "tokens"],
    questions: Int[Tensor, "tokens"],
    answers: Int[Tensor, "tokens"],
) -> Float[Tensor, ""]:
    """How far the right answers are from being chosen by mean log-likelihood, as benchmarks score choices.

    Args:
        nats: negative log-likelihood of every token of an answer.
        rows: of the batch, in which the token stands.
        questions: of the row, from 1.
        answers: of the question: 1 is the right one.

    Returns:
        Negative log-likelihood of the right answer by the softmax over each question's answers, in nats a question;
        questions without wrong answers do not count.
    """
    shape = (int(rows.max()) + 1, int(questions.max()) + 1, int(answers.max()) + 1)
    place = (rows, questions, answers)
    total = nats.new_zeros(shape).index_put(place, nats, accumulate=True)
    count = nats.new_zeros(shape).index_put(place, torch.ones_like(nats), accumulate=True)
    scores = torch.where(count > 0, -total / count.clamp(min=1), -torch.inf)[..., 1:]
    several = (count[..., 1:] > 0).sum(-1) > 1
    if not several.any():
        return nats.new_zeros(())
    return F.cross_entropy(scores[several], torch.zeros_like(scores[several][:, 0], dtype=torch.long))
