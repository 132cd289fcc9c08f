"""What every adapter of a Hugging Face model must hold, checked against the model's own forward."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from auricle.audio import SAMPLE_RATE, WINDOW_SECONDS
from auricle.models.hugging_face import HuggingFaceSpeechLM
from auricle.speech_lm import AudioTokens, Later, SpeechPrompt

CLOSE = 1e-4  # largest difference of logits in float32


def noise(seconds: float, seed: int = 0) -> np.ndarray:
    """Mono noise at 16 kHz whose level rises, so that no two seconds are alike."""
    samples = round(seconds * SAMPLE_RATE)
    white = np.random.default_rng(seed).standard_normal(samples) * np.linspace(0.01, 0.2, samples)
    return white.astype(np.float32)


@torch.inference_mode()
def native_logits(model: Any, inputs: Mapping[str, Any]) -> Tensor:
    """Logits (tokens, vocab) of the model's own forward on its processor's inputs."""
    return model(**inputs).logits[0]


@torch.inference_mode()
def native_embeds(model: Any, inputs: Mapping[str, Any], decoder: Any = None) -> Tensor:
    """The merged `inputs_embeds` (tokens, dim) that the model's own forward hands to its decoder."""
    seen: list[Tensor] = []

    def record(_module: Any, _args: Any, kwargs: dict[str, Any]) -> None:
        seen.append(kwargs["inputs_embeds"])

    hook = (decoder or model.get_decoder()).register_forward_pre_hook(record, with_kwargs=True)
    try:
        model(**inputs)
    finally:
        hook.remove()
    return seen[0][0]


def assert_close(actual: Tensor, expected: Tensor, atol: float = CLOSE) -> None:
    torch.testing.assert_close(actual, expected, atol=atol, rtol=0)


def check_prompt_equals_native(
    lm: HuggingFaceSpeechLM, inputs: Mapping[str, Any], question: str, waveform: np.ndarray
) -> None:
    """With nothing pruned, the logits are the model's own on its processor's inputs."""
    prompt = lm.prompt(lm.encode(waveform), lm.query(question))
    expected = native_logits(lm.model, inputs)
    assert len(prompt) == len(expected)
    assert expected.std() > 1e-3  # a constant would equal anything
    assert_close(lm.logits(prompt), expected)


def check_places(
    lm: HuggingFaceSpeechLM, inputs: Mapping[str, Any], question: str, waveform: np.ndarray, audio_token_id: int
) -> None:
    """The prompt says where the placeholders stand, and its query positions hold the question's own tokens."""
    ids = inputs["input_ids"][0]
    prompt = lm.prompt(lm.encode(waveform), lm.query(question))
    assert torch.equal(prompt.audio, (ids == audio_token_id).nonzero()[:, 0])
    tokenizer = getattr(lm.processor, "tokenizer", lm.processor)
    assert question in tokenizer.decode(ids[prompt.query])
    assert not set(ids[prompt.query].tolist()) & set(tokenizer.all_special_ids)


def check_pruned(
    lm: HuggingFaceSpeechLM,
    inputs: Mapping[str, Any],
    question: str,
    waveform: np.ndarray,
    audio_token_id: int,
    *,
    embeds: Tensor | None = None,
) -> None:
    """Pruned, the logits are exactly those of the native merged embeddings with the same rows deleted."""
    whole = native_embeds(lm.model, inputs) if embeds is None else embeds
    audio = (inputs["input_ids"][0] == audio_token_id).nonzero()[:, 0]
    keep = torch.tensor(sorted(np.random.default_rng(1).permutation(len(audio))[: len(audio) // 3].tolist()))
    gone = set(audio.tolist()) - set(audio[keep].tolist())
    rows = torch.tensor([row for row in range(len(whole)) if row not in gone])

    full = lm.prompt(lm.encode(waveform), lm.query(question))
    for positions, places in (("renumber", torch.arange(len(rows))), ("original", rows)):
        pruned = full.keep(keep, positions=positions)
        axes = places[None] if lm.position_axes == 1 else places.expand(lm.position_axes, 1, -1)
        with torch.inference_mode():
            mask = torch.ones(1, len(rows), dtype=torch.long)  # else gaps would pass for packed sequences
            expected = lm.model(inputs_embeds=whole[rows][None], attention_mask=mask, position_ids=axes).logits[0]
        assert_close(pruned.embeds[0], whole[rows], atol=1e-5)
        assert_close(lm.logits(pruned), expected)


def check_seventy_seconds(lm: HuggingFaceSpeechLM, tokens: AudioTokens, frames_tolerance: int = 1) -> None:
    """70 s are three windows: the right number of tokens, one after another, window starts on 0, 30 and 60 s."""
    rate = lm.tokens_per_second
    per_window = round(WINDOW_SECONDS * rate)
    assert abs(len(tokens) - 70 * rate) <= frames_tolerance
    starts, ends = tokens.times.T
    assert torch.equal(starts[[0, per_window, 2 * per_window]], torch.tensor([0.0, 30.0, 60.0]))
    torch.testing.assert_close(ends - starts, torch.full_like(starts, 1 / rate), atol=1e-4, rtol=0)
    torch.testing.assert_close(starts[1:], ends[:-1], atol=1e-4, rtol=0)
    assert 70 - 2 / rate <= float(ends[-1]) <= 70 + 1 / rate
    assert torch.isfinite(tokens.embeds).all()


def check_short_tails(lm: HuggingFaceSpeechLM, seconds: Sequence[float] = (1 / SAMPLE_RATE, 0.004, 0.05)) -> None:
    """A last window of any length, down to one sample, neither fails nor disturbs the one before it."""
    whole = lm.encode(noise(30))
    for tail in seconds:
        waveform = np.concatenate([noise(30), noise(1, seed=3)[: max(1, round(tail * SAMPLE_RATE))]])
        tokens = lm.encode(waveform)
        assert torch.equal(tokens.embeds[: len(whole)], whole.embeds)
        assert 0 <= len(tokens) - len(whole) <= round(tail * lm.tokens_per_second) + 1
        assert torch.isfinite(tokens.embeds).all()
        assert (tokens.times[len(whole) :, 0] >= 30.0).all()


class Ids:
    """A streamer that collects the ids as `generate` makes them."""

    def __init__(self) -> None:
        self.ids: list[int] = []

    def put(self, value: Tensor) -> None:
        self.ids += value.flatten().tolist()

    def end(self) -> None: ...


def check_generates_natively(
    lm: HuggingFaceSpeechLM, inputs: Mapping[str, Any], question: str, waveform: np.ndarray, tokens: int = 8
) -> None:
    """Greedy decoding gives the model's own `generate`, token by token."""
    with torch.inference_mode():
        ids = lm.model.generate(**inputs, do_sample=False, max_new_tokens=tokens)
    new = ids[0, inputs["input_ids"].shape[1] :].tolist()
    assert len(set(new)) > 1  # a random model that repeats one token would prove little
    tokenizer = getattr(lm.processor, "tokenizer", lm.processor)
    streamed = Ids()
    prompt = lm.prompt(lm.encode(waveform), lm.query(question))
    answer = lm.generate(prompt, max_new_tokens=tokens, streamer=streamed)
    assert streamed.ids == new
    assert answer == tokenizer.decode(new, skip_special_tokens=True).strip() != ""


def check_loglikelihood(
    lm: HuggingFaceSpeechLM,
    inputs: Mapping[str, Any],
    question: str,
    waveform: np.ndarray,
    continuations: Sequence[str] = ("a harbor", "the"),
) -> None:
    """Log-probabilities are the sums from the model's own full forward over prompt and continuation."""
    prompt = lm.prompt(lm.encode(waveform), lm.query(question))
    tokenizer = getattr(lm.processor, "tokenizer", lm.processor)
    expected = []
    for continuation in continuations:
        ids = tokenizer(continuation, add_special_tokens=False, return_tensors="pt")["input_ids"]
        longer = dict(inputs) | {"input_ids": torch.cat([inputs["input_ids"], ids], dim=1)}
        if "attention_mask" in inputs:
            longer["attention_mask"] = torch.ones_like(longer["input_ids"])
        logs = native_logits(lm.model, longer).log_softmax(-1)[-ids.shape[1] - 1 : -1]
        expected.append(logs.gather(1, ids.T).sum())
    assert_close(lm.loglikelihood(prompt, continuations), torch.stack(expected), atol=1e-3)


@torch.inference_mode()
def check_layers(lm: HuggingFaceSpeechLM, question: str, waveform: np.ndarray) -> None:
    """Looking inside shows what eager attention says, and what is dropped inside is missed by likelihoods alike."""
    prompt = lm.prompt(lm.encode(waveform), lm.query(question))
    config, at = lm.model.get_decoder().config, lm.axes(torch.arange(len(prompt))[None])
    before = config._attn_implementation
    config._attn_implementation = "eager"
    try:
        with lm._reading(True):
            out = lm.model(inputs_embeds=prompt.embeds, position_ids=at, output_attentions=True)
    finally:
        config._attn_implementation = before
    seen = lm.inside(prompt, 1)
    assert_close(seen.attention, out.attentions[0][0, :, -1], atol=1e-5)
    assert seen.keys.shape[1] == len(seen.states) == len(prompt)

    keep = torch.arange(0, len(prompt.audio), 3)
    assert_close(lm.logits(prompt.keep_from(1, torch.arange(len(prompt.audio)))), lm.logits(prompt))
    cut = prompt.keep_from(1, keep)
    assert len(lm.logits(cut)) == len(prompt) - len(prompt.audio) + len(keep)
    ids = torch.tensor(lm._tokenize("a harbor"))
    stays = torch.cat([cut.later.stays, torch.ones(len(ids), dtype=torch.bool)])
    longer = SpeechPrompt(
        torch.cat([cut.embeds, lm.embed(ids)[None]], 1), cut.audio, cut.query, cut.times, later=Later(1, stays)
    )
    logs = lm.logits(longer).log_softmax(-1)[-len(ids) - 1 : -1]
    assert_close(lm.loglikelihood(cut, ["a harbor"])[0], logs.gather(1, ids[:, None]).sum(), atol=1e-3)
    assert lm.generate(cut, max_new_tokens=4) == lm.generate(cut, max_new_tokens=4)


def check_one_window_at_a_time(lm: HuggingFaceSpeechLM, encoder: Any, seconds: float = 70) -> None:
    """The speech encoder sees one window a call, so that memory does not grow with the recording."""
    batches: list[int] = []

    def count(_module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        given = [value for value in (*args, *kwargs.values()) if isinstance(value, Tensor)]
        batches.append(given[0].shape[0])

    hook = encoder.register_forward_pre_hook(count, with_kwargs=True)
    try:
        lm.encode(noise(seconds))
    finally:
        hook.remove()
    assert batches == [1] * -int(-seconds // WINDOW_SECONDS)


@torch.inference_mode()
def check_first_layer(lm: HuggingFaceSpeechLM, embeds: Tensor) -> None:
    """Queries and keys are those that the first layer makes, norms included, of what its projections are given."""
    layer, seen = lm.model.get_decoder().layers[0], []
    normed = [layer.self_attn.q_norm, layer.self_attn.k_norm]
    hooks = [module.register_forward_hook(lambda _module, _args, out: seen.append(out[0])) for module in normed]
    try:
        lm.model(inputs_embeds=embeds[None], position_ids=lm.axes(torch.arange(len(embeds))[None]))
    finally:
        for hook in hooks:
            hook.remove()
    given = layer.input_layernorm(embeds)
    qk = lm.first_layer_qk()
    assert_close(qk.queries(given), seen[0], atol=1e-5)
    assert_close(qk.keys(given), seen[1], atol=1e-5)
    plain = (given @ qk.w_q.T).view_as(seen[0])
    assert not torch.allclose(plain, seen[0], atol=0.1)  # the norms do something
