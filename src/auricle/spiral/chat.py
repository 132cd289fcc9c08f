"""Language models that write: one contract, over an OpenAI-compatible endpoint or on this machine."""

import math
import os
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from threading import Lock
from typing import Any, Literal, final

from typing_extensions import override

from auricle.errors import ContextLengthError, EndpointError, MissingDependencyError, ModelError, OptionError

Role = Literal["system", "user", "assistant"]
_SEEDS = 2**31  # endpoints that keep seeds in 32 bits with a sign take no more
_ADVICE: Mapping[int, str] = {
    400: "check the model's name, and leave out the temperature or the seed if it does not take them",
    401: "set the environment variable {variable} to a key that it accepts",
    403: "use a key, in the environment variable {variable}, that may use this model",
    404: "check the base URL, which mostly ends in /v1, and the model's name",
    422: "check the model's name, and leave out the temperature or the seed if it does not take them",
    429: "ask fewer at a time, or wait until its quota allows more",
}


@dataclass(frozen=True)
class Message:
    """One message of a chat."""

    role: Role
    content: str


class Chat(ABC):
    """A language model that replies in a chat. Threads may share one."""

    @abstractmethod
    def reply(self, messages: Sequence[Message], seed: int = 0) -> str:
        """The model's next message, without space around it; never empty.

        Args:
            messages: what was said so far, the last one by the user.
            seed: equal messages and seeds give equal replies as far as the model can promise it.

        Raises:
            EndpointError: the model cannot be reached or used, or its reply is empty; the message says what to do.
            ModelError: a model on this machine cannot be loaded, or the messages are too long for it.
            MissingDependencyError: a package that it needs is not installed.
        """


@final
@dataclass(frozen=True)
class EndpointChat(Chat):
    """A model behind an endpoint that speaks OpenAI's `/chat/completions`, such as vLLM, llama.cpp or OpenAI.

    Requests that fail for what may pass (no connection, no reply in time, status 408, 409, 429 or 5xx) are sent
    again after pauses that double, or that the endpoint asks for.

    Attributes:
        model: as the endpoint names it.
        base_url: of the endpoint, such as "http://localhost:8000/v1"; None is the `openai` package's own default:
            the environment variable OPENAI_BASE_URL, or else OpenAI.
        api_key_variable: the environment variable that holds the key; it may be unset for a server that needs none.
        temperature: of sampling, 0 to 2; None leaves it to the endpoint.
        timeout: seconds to wait for a reply.
        max_retries: how often a failed request is sent again.
        seed: added to the seed of every request; None sends none, for endpoints that refuse the field.
    """

    model: str
    base_url: str | None = None
    api_key_variable: str = "OPENAI_API_KEY"
    temperature: float | None = 1.0
    timeout: float = 120.0
    max_retries: int = 5
    seed: int | None = 0

    def __post_init__(self) -> None:
        if not self.model.strip():
            raise OptionError("The model's name is empty; give it as the endpoint names it.")
        if self.base_url is not None and not self.base_url.startswith(("http://", "https://")):
            raise OptionError(f"base_url is {self.base_url!r}; expected one like 'http://localhost:8000/v1'.")
        if self.temperature is not None:
            _check_temperature(self.temperature)
        if not (math.isfinite(self.timeout) and self.timeout > 0):
            raise OptionError(f"timeout is {self.timeout}; expected seconds above 0.")
        if self.max_retries < 0:
            raise OptionError(f"max_retries is {self.max_retries}; expected 0 or more.")

    @override
    def reply(self, messages: Sequence[Message], seed: int = 0) -> str:
        try:
            import openai
        except ImportError as error:
            raise MissingDependencyError("openai is not installed; install auricle[spiral].") from error
        # A client per request costs milliseconds beside the seconds of a reply, and leaves no connection open.
        with openai.OpenAI(
            base_url=self.base_url,
            api_key=os.environ.get(self.api_key_variable, "").strip() or "none",  # the package insists on one
            timeout=self.timeout,
            max_retries=self.max_retries,
        ) as client:
            url = str(client.base_url)
            try:
                completion = client.chat.completions.create(
                    model=self.model, messages=_plain(messages), **self._sampling(seed)
                )
            except openai.APITimeoutError as error:
                raise EndpointError(self._late(url)) from error
            except openai.APIConnectionError as error:
                raise EndpointError(_unreachable(url, error.__cause__ or error)) from error
            except openai.APIStatusError as error:
                raise EndpointError(self._refused(url, error.status_code, error.message)) from error
            except (openai.APIError, ValueError) as error:  # a body that is broken JSON
                raise EndpointError(_no_chat(url)) from error
        return self._text(url, completion)

    def _sampling(self, seed: int) -> dict[str, Any]:
        temperature = {} if self.temperature is None else {"temperature": self.temperature}
        return temperature if self.seed is None else {**temperature, "seed": (self.seed + seed) % _SEEDS}

    def _late(self, url: str) -> str:
        return (
            f"{url} gave no reply within {self.timeout:g} s, asked {self.max_retries + 1} time(s); raise the"
            " timeout or ask fewer at a time."
        )

    def _refused(self, url: str, status: int, message: str) -> str:
        advice = _ADVICE.get(status, "try again later" if status >= 500 else "check the base URL")
        said = " ".join(message.split())[:300]
        return (
            f"{url} refuses '{self.model}' with status {status} ({said}); "
            f"{advice.format(variable=self.api_key_variable)}."
        )

    def _text(self, url: str, completion: Any) -> str:  # noqa: ANN401 - the package does not check what came
        try:
            choice = completion.choices[0]
            text = (choice.message.content or choice.message.refusal or "").strip()
        except (AttributeError, IndexError, TypeError) as error:
            raise EndpointError(_no_chat(url)) from error
        if not text:
            raise EndpointError(
                f"{url} answers with status 200 and an empty reply (finish reason '{choice.finish_reason}');"
                f" try another seed, or another model than '{self.model}'."
            )
        return str(text)


@final
@dataclass(frozen=True)
class LocalChat(Chat):
    """A causal LM of `transformers` with a chat template; loaded when it is first asked, one reply at a time.

    Attributes:
        name: a folder, or a name on the Hugging Face hub.
        device: for example "cpu" or "cuda".
        dtype: of the weights, for example "bfloat16"; "auto" is what they are stored in.
        max_new_tokens: after which a reply ends.
        temperature: of sampling, 0 to 2; 0 always takes the likeliest token, whatever the seed.
        seed: added to the seed of every request.
    """

    name: str | Path
    device: str = "cpu"
    dtype: str = "auto"
    max_new_tokens: int = 2048
    temperature: float = 1.0
    seed: int = 0
    _lock: Any = field(default_factory=Lock, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        _check_temperature(self.temperature)
        if self.max_new_tokens < 1:
            raise OptionError(f"max_new_tokens is {self.max_new_tokens}; expected 1 or more.")

    @override
    def reply(self, messages: Sequence[Message], seed: int = 0) -> str:
        import torch

        with self._lock:
            tokenizer, model = self._loaded
            inputs = tokenizer.apply_chat_template(
                _plain(messages), add_generation_prompt=True, return_tensors="pt", return_dict=True
            ).to(model.device)
            ids, mask = inputs["input_ids"], inputs["attention_mask"]
            length = ids.shape[1]
            self._check_length(length, getattr(model.config, "max_position_embeddings", None))
            cuda = [model.device] if model.device.type == "cuda" else []
            # Forked, so that the caller's random numbers stay as they are.
            with torch.random.fork_rng(cuda), torch.inference_mode():
                torch.manual_seed((self.seed + seed) % _SEEDS)
                ids = model.generate(input_ids=ids, attention_mask=mask, **self._decoding(tokenizer))
        text = str(tokenizer.decode(ids[0, length:], skip_special_tokens=True)).strip()
        if not text:
            raise EndpointError(f"'{self.name}' gave an empty reply; try another seed or another model.")
        return text

    @cached_property
    def _loaded(self) -> tuple[Any, Any]:
        """The tokenizer and the model."""
        import transformers

        auto_tokenizer: Any = transformers.AutoTokenizer
        auto_model: Any = transformers.AutoModelForCausalLM
        try:
            tokenizer = auto_tokenizer.from_pretrained(self.name)
            model = auto_model.from_pretrained(self.name, dtype=self.dtype).to(self.device).eval()
        except Exception as error:  # whatever a missing or damaged checkpoint or an unknown device makes them raise
            first = (str(error).strip().splitlines() or [type(error).__name__])[0]
            raise ModelError(
                f"'{self.name}' cannot be loaded on '{self.device}' as '{self.dtype}': {first}; expected the"
                " folder or the name of a causal LM."
            ) from error
        if tokenizer.chat_template is None:
            raise ModelError(f"'{self.name}' has no chat template; choose a model that was tuned for chats.")
        return tokenizer, model

    def _check_length(self, length: int, limit: int | None) -> None:
        if limit is not None and length + self.max_new_tokens > limit:
            raise ContextLengthError(
                f"The messages are {length} tokens and the reply may be {self.max_new_tokens}, but the context of"
                f" '{self.name}' holds {limit}; lower max_new_tokens or choose a model with a longer context."
            )

    def _decoding(self, tokenizer: Any) -> dict[str, Any]:  # noqa: ANN401
        padding = tokenizer.eos_token_id if tokenizer.pad_token_id is None else tokenizer.pad_token_id
        common = {"max_new_tokens": self.max_new_tokens, "pad_token_id": padding}
        if self.temperature == 0:
            return common | {"do_sample": False, "temperature": None, "top_p": None, "top_k": None}
        return common | {"do_sample": True, "temperature": self.temperature}


def _plain(messages: Sequence[Message]) -> Any:  # noqa: ANN401 - the union of dictionaries that openai wants
    return [{"role": message.role, "content": message.content} for message in messages]


def _unreachable(url: str, cause: BaseException) -> str:
    return f"{url} cannot be reached ({cause}); check that it runs, the base URL and the network."


def _no_chat(url: str) -> str:
    return f"{url} answers with status 200, but not as a chat; check the base URL, which mostly ends in /v1."


def _check_temperature(temperature: float) -> None:
    if not 0 <= temperature <= 2:
        raise OptionError(f"temperature is {temperature}; expected 0 to 2.")
