"""For existing Hugging Face code: prunes inside a `with`, and leaves the model exactly as it was.

```python
with SpeechPrune(pruning_rate=0.6)(model, processor):
    ids = model.generate(**inputs, max_new_tokens=64)
answer = processor.batch_decode(ids[:, inputs["input_ids"].shape[1] :])
```
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from functools import wraps
from inspect import signature
from types import TracebackType
from typing import Any, final

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from transformers import PreTrainedModel
from typing_extensions import override

from auricle.errors import ModelError, OptionError, QueryError
from auricle.loading import adapt
from auricle.models.hugging_face import HuggingFaceSpeechLM
from auricle.pruning.base import Pruner, Reduced
from auricle.speech_lm import AudioTokens, check_indices

# Arguments with one value a token, cut like the token ids.
_PER_TOKEN = ("attention_mask", "labels", "token_type_ids", "mm_token_type_ids")
_ORIGINAL = "_auricle_original"
_PROBE = "What is decided?"


@final
class Pruned(AbstractContextManager["PreTrainedModel"]):
    """Inside, `model.generate` and `model.forward` drop speech tokens; may be entered again, and nested.

    Calls without audio pass through untouched, and so do calls of which the pruner keeps every token. `generate`
    returns what the native call would: the whole prompt's ids, then the new ones. `forward` returns logits of the
    tokens that were kept. Of nested contexts the innermost counts. Calls on the same model from several threads
    are all pruned while one of them is inside.

    The processor's inputs are taken as they are: what it cut off (Qwen2-Audio's: all beyond 30 s) is not there.
    `auricle.load` reads recordings of any length. Several recordings in one prompt are pruned as one.
    """

    def __init__(self, pruner: Pruner, model: nn.Module, processor: Any, question: str | None = None) -> None:  # noqa: ANN401
        """Prepares, and changes nothing yet.

        Args:
            pruner: what chooses the tokens.
            model: a loaded model that has an adapter.
            processor: the processor that makes its inputs.
            question: what speech is compared to; by default all text between the speech and the end of the turn, or
                before the speech where the model's template has it there.
        """
        self._pruner = pruner
        self._model: Any = model
        self._processor = processor
        self._question = question
        self._exits: list[ExitStack] = []

    @override
    def __enter__(self) -> PreTrainedModel:
        """Intercepts the model's `generate` and `forward`.

        Raises:
            UnknownNameError: no adapter reads this class.
            UnprunableModelError: the model's speech tokens cannot be dropped.
            ModelError: the model has no `generate` of `transformers` that reads embeddings.
            OptionError: the method works inside the LLM.
        """
        if self._pruner.layer:
            raise OptionError(
                f"{type(self._pruner).__name__} drops speech inside the LLM, which this context does not reach; use"
                " auricle.load and auricle.ask, or a method that prunes before the LLM."
            )
        lm = _adapted(self._model, self._processor)
        with ExitStack() as patches:
            calls = _Calls(self._pruner, lm, self._question, _original(self._model, "forward"))
            generate = _original(self._model, "generate")
            patches.enter_context(_replaced(self._model, "generate", calls.generating(generate)))
            patches.enter_context(_replaced(self._model, "forward", calls.forwarding()))
            self._exits.append(patches.pop_all())
        return self._model  # type: ignore[no-any-return]

    @override
    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._exits.pop().close()


@dataclass(frozen=True)
class _Cut:
    """Arguments of a pruned call, and which tokens of the given prompt are left in it."""

    arguments: dict[str, Any]
    ids: Int[Tensor, "1 tokens"]
    stays: Bool[Tensor, "tokens"]


class _Calls:
    """The calls that stand in for a model's own while a context is open."""

    def __init__(
        self, pruner: Pruner, lm: HuggingFaceSpeechLM, question: str | None, forward: Callable[..., Any]
    ) -> None:
        self.pruner = pruner
        self.lm = lm
        self.question = question
        self.forward = forward
        self.within = False  # generate calls forward, which must not prune again

    def generating(self, original: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(original)
        def generate(inputs: Tensor | None = None, *args: Any, **arguments: Any) -> Any:  # noqa: ANN401
            if inputs is not None:
                arguments["input_ids"] = inputs
            if args:
                raise ModelError("While pruning, pass all options of generate by name.")
            with self._inside(), torch.no_grad():
                cut = self._cut(arguments)
                if cut is None:
                    return original(**arguments)
                options = cut.arguments | {"input_ids": cut.ids[:, cut.stays]}
                dropped = int((~cut.stays).sum())
                for length in ("max_length", "min_length"):  # they count the prompt that was given
                    if options.get(length) is not None:
                        options[length] -= dropped
                with self.lm._reading(True):
                    return _with_prompt(original(**options), cut)

        return generate

    def forwarding(self) -> Callable[..., Any]:
        names = list(signature(self.forward).parameters)

        @wraps(self.forward)
        def forward(*args: Any, **arguments: Any) -> Any:  # noqa: ANN401
            arguments |= dict(zip(names, args, strict=False))
            if self.within:
                return self.forward(**arguments)
            with self._inside():
                cut = self._cut(arguments)
                if cut is None:
                    return self.forward(**arguments)
                with self.lm._reading(True):
                    return self.forward(**cut.arguments)

        return forward

    @contextmanager
    def _inside(self) -> Iterator[None]:
        before, self.within = self.within, True
        try:
            yield
        finally:
            self.within = before

    def _cut(self, arguments: dict[str, Any]) -> _Cut | None:
        """The arguments without the speech tokens that the pruner drops; None if it drops none."""
        names = _audio_inputs(self.lm.processor)
        features = {name: arguments[name] for name in names if arguments.get(name) is not None}
        ids = arguments.get("input_ids")
        if not features or ids is None or not bool((ids == _audio_token(self.lm)).any()):
            return None
        if len(ids) != 1:
            raise ModelError(
                f"Pruning reads one prompt at a time, but the batch has {len(ids)}; call the model once for each."
            )
        mask = arguments.get("attention_mask")
        mask = torch.ones_like(ids) if mask is None else mask
        embeds = self._merged({"input_ids": ids, "attention_mask": mask} | features)
        if embeds.shape[1] != ids.shape[1]:
            raise ModelError(
                f"The prompt has {ids.shape[1]} token ids, but the model makes {embeds.shape[1]} of them;"
                " expected one placeholder for every speech token, as the processor writes them."
            )
        audio = (ids[0] == _audio_token(self.lm)).nonzero()[:, 0]
        reduced = self._reduced(embeds[0, audio.to(embeds.device)].detach(), ids, audio)
        keep = reduced.keep
        check_indices(keep, len(audio))
        if len(keep) == len(audio):
            return None
        if reduced.embeds is not None:
            embeds = embeds.clone()
            embeds[0, audio[keep.to(audio.device)].to(embeds.device)] = reduced.embeds.to(embeds)
        stays = torch.ones(ids.shape[1], dtype=torch.bool, device=ids.device)
        stays[audio] = False
        stays[audio[keep.to(ids.device)]] = True
        rest = {name: value for name, value in arguments.items() if name not in (*features, "input_ids")}
        rest |= {name: rest[name][..., stays] for name in _PER_TOKEN if rest.get(name) is not None}
        given = rest.pop("position_ids", None)
        if self.pruner.positions == "original":
            counted = (mask.cumsum(-1) - 1).clamp(min=0) if given is None else given
            rest["position_ids"] = self.lm.axes(counted[..., stays]) if given is None else given[..., stays]
        rest |= {"attention_mask": mask[:, stays], "inputs_embeds": embeds[:, stays.to(embeds.device)]}
        return _Cut(rest, ids, stays)

    def _merged(self, inputs: dict[str, Any]) -> Float[Tensor, "1 tokens dim"]:
        """The embeddings that the model would hand to its decoder; the decoder itself does not run."""

        def stop(_module: nn.Module, positional: tuple[Any, ...], named: dict[str, Any]) -> None:
            embeds = named.get("inputs_embeds", *positional[:1])
            if isinstance(embeds, Tensor) and embeds.is_floating_point():
                raise _Merged(embeds)

        decoder = self.lm.model.get_decoder()
        # A decoder that merges by itself (Phi-4's) is given none; then they are what its first layer is given.
        hooks = [m.register_forward_pre_hook(stop, with_kwargs=True) for m in (decoder, decoder.layers[0])]
        try:
            with self.lm._reading(True):
                self.forward(**inputs)
        except _Merged as merged:
            return merged.embeds
        finally:
            for hook in hooks:
                hook.remove()
        raise ModelError(f"{self.lm.name} never ran its decoder; use auricle.load instead.")

    def _reduced(
        self, embeds: Float[Tensor, "audio dim"], ids: Int[Tensor, "1 tokens"], audio: Int[Tensor, "audio"]
    ) -> Reduced:
        """The pruner's choice among the prompt's speech tokens, which stand at `audio`."""
        starts = torch.arange(len(embeds), dtype=torch.float64) / self.lm.tokens_per_second
        times = torch.stack([starts, starts + 1 / self.lm.tokens_per_second], dim=1).float()
        question = self.question or _question(self.lm, ids[0, : int(audio[0])], ids[0, int(audio[-1]) + 1 :])
        return self.pruner.reduce(AudioTokens(embeds, times), self.lm.query(question), self.lm)


class _Merged(Exception):  # noqa: N818 - no error: it ends a forward pass before the decoder
    def __init__(self, embeds: Tensor) -> None:
        self.embeds = embeds


def _adapted(model: Any, processor: Any) -> HuggingFaceSpeechLM:  # noqa: ANN401
    """The model's adapter; unlike `adapt`, it leaves modules in their modes and weights with their gradients."""
    training = {module: module.training for module in model.modules()}
    gradients = {weight: weight.requires_grad for weight in model.parameters()}
    try:
        lm = adapt(model, processor)
    finally:
        for module, mode in training.items():
            module.training = mode
        for weight, gradient in gradients.items():
            weight.requires_grad_(gradient)
    if not isinstance(lm, HuggingFaceSpeechLM) or lm.model is not model:
        raise ModelError(
            f"{type(model).__name__} generates with a model inside it; pass that one (for example model.thinker),"
            " or use auricle.load."
        )
    return lm


def _question(lm: HuggingFaceSpeechLM, before: Int[Tensor, "before"], behind: Int[Tensor, "behind"]) -> str:
    """The text between the speech and the end of the user's turn, or before it: as the model's own template has it.

    Args:
        lm: the model.
        before: the token ids up to the first speech token.
        behind: the token ids that follow the last speech token.

    Raises:
        QueryError: the prompt is not speech and one question as in the template.
    """
    tokenizer = getattr(lm.processor, "tokenizer", lm.processor)
    template = lm._template(_PROBE, _PROBE)
    speech_first = bool(template.query[0] > template.audio)
    around = template.ids[template.audio + 1 :] if speech_first else template.ids[: template.audio]
    head, _, end = tokenizer.decode(around).partition(_PROBE)
    text = tokenizer.decode(behind if speech_first else before)
    question: str = text.removeprefix(head).removesuffix(end).strip()
    whole = text.startswith(head) and text.endswith(end)
    if not whole or not question or any(special in question for special in tokenizer.all_special_tokens):
        where, expected = (
            ("between the speech and the end of the prompt", "the text after the audio")
            if speech_first
            else ("before the speech", "a system prompt (Qwen3-ASR: its processor's prompt, or context)")
        )
        raise QueryError(
            f"The question was not found {where}; expected the chat template with {expected} and"
            " add_generation_prompt=True, or pass it: pruner(model, processor, question=...)."
        )
    return question


def _audio_inputs(processor: Any) -> list[str]:  # noqa: ANN401
    names = [*processor.model_input_names]
    return [name for name in names if name not in ("input_ids", "position_ids", *_PER_TOKEN)]


def _audio_token(lm: HuggingFaceSpeechLM) -> int:
    config = lm.model.config
    holder = config if hasattr(config, "audio_token_id") else config.audio_config
    token: int = holder.audio_token_id
    return token


def _with_prompt(out: Any, cut: _Cut) -> Any:  # noqa: ANN401
    """What `generate` returned, with the ids of the given prompt in place of the pruned one's."""
    sequences = out if isinstance(out, Tensor) else out.sequences
    new = sequences[:, int(cut.stays.sum()) :]
    whole = torch.cat([cut.ids.expand(len(new), -1).to(new), new], dim=1)
    if isinstance(out, Tensor):
        return whole
    out.sequences = whole
    return out


def _original(model: Any, name: str) -> Callable[..., Any]:  # noqa: ANN401
    """A method as it is without any `Pruned` around it."""
    if not hasattr(model, name):
        raise ModelError(f"{type(model).__name__} has no {name} that could be intercepted; use auricle.load.")
    method = getattr(model, name)
    original: Callable[..., Any] = getattr(method, _ORIGINAL, method)
    return original


@contextmanager
def _replaced(model: Any, name: str, method: Callable[..., Any]) -> Iterator[None]:  # noqa: ANN401
    """Sets a method on the instance, and later puts back what was there, or nothing."""
    setattr(method, _ORIGINAL, _original(model, name))
    attributes = vars(model)
    had, before = name in attributes, attributes.get(name)
    setattr(model, name, method)
    try:
        yield
    finally:
        if had:
            setattr(model, name, before)
        else:
            delattr(model, name)
