"""What clients send, in OpenAI's format with auricle's additions; fields that are not named here are ignored."""

from collections.abc import Callable
from typing import Annotated, Any, Literal, TypeVar

from fastapi import UploadFile
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, Field, JsonValue, ValidationError

from auricle.pruning.base import Pruner
from auricle.questions import check_choices, check_question
from auricle.registry import pruner
from auricle.serving.answering import Question
from auricle.serving.engine import Decoding
from auricle.serving.failures import ApiError
from auricle.serving.options import Options

T = TypeVar("T")
Given = TypeVar("Given")
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$", description="Hash of the file, from an earlier reply.")]
CHAT_FORMATS = ("wav", "mp3", "flac", "ogg")
FILE_FORMATS = (*CHAT_FORMATS, "mp4", "webm")


class InputAudio(BaseModel):
    """A recording: its bytes with their format, or the hash of one that was sent before."""

    data: str | None = Field(None, description="Base64.")
    format: Literal["wav", "mp3", "flac", "ogg"] | None = None
    recording: Sha256 | None = None


class TextPart(BaseModel):
    """A part of the question."""

    type: Literal["text"]
    text: str


class AudioPart(BaseModel):
    """The recording that is asked about."""

    type: Literal["input_audio"]
    input_audio: InputAudio


Part = Annotated[TextPart | AudioPart, Field(discriminator="type")]


class Message(BaseModel):
    """What somebody said."""

    role: str
    content: str | list[Part] | None = None


class StreamOptions(BaseModel):
    """Accepted for the sake of clients; the last chunk always has the usage."""

    include_usage: bool | None = None


class ChatRequest(BaseModel):
    """A question about a recording."""

    model: str
    messages: list[Message] = Field(min_length=1)
    stream: bool | None = False
    stream_options: StreamOptions | None = None
    max_tokens: int | None = Field(None, ge=1)
    max_completion_tokens: int | None = Field(None, ge=1)
    temperature: float | None = Field(None, ge=0, le=2, allow_inf_nan=False)
    top_p: float | None = Field(None, gt=0, le=1, allow_inf_nan=False)
    seed: int | None = Field(None, ge=-(2**63), lt=2**63)
    pruner: str | None = Field(None, description="A name of /v1/pruners; full by default.")
    pruning_rate: float | None = Field(None, ge=0, le=1, allow_inf_nan=False)
    compression_ratio: int | None = Field(None, ge=1, le=10_000, description="Speech tokens per summary token.")
    choices: list[str] | None = Field(None, description="Possible answers, of which the likeliest is chosen.")
    # What OpenAI's API has and this one cannot do is refused, not ignored.
    n: JsonValue = None
    stop: JsonValue = None
    tools: JsonValue = None
    functions: JsonValue = None
    logprobs: JsonValue = None
    response_format: JsonValue = None
    modalities: JsonValue = None


class SimilarityRequest(BaseModel):
    """Which moments of a recording resemble a question."""

    recording: Sha256
    question: str


class RecordingForm(BaseModel):
    """A recording as a file."""

    file: UploadFile


class TranscriptionForm(RecordingForm):
    """A recording to write down."""

    model: str
    response_format: str = "json"
    stream: bool = False


_NOTHING: dict[str, tuple[Any, ...]] = {
    "n": (None, 1),
    "stop": (None, [], ""),
    "tools": (None, []),
    "functions": (None, []),
    "logprobs": (None, False),
    "response_format": (None, {"type": "text"}),
    "modalities": (None, ["text"]),
}


def checked(validate: Callable[[Given], T], given: Given) -> T:
    """What a body that was read by hand says.

    Raises:
        RequestValidationError: it is not as expected.
    """
    try:
        return validate(given)
    except ValidationError as error:
        details = [{**each, "loc": ("body", *each["loc"])} for each in error.errors()]
        raise RequestValidationError(details) from None


def documented(body: type[BaseModel], kind: str) -> dict[str, Any]:
    """A body that is read by hand, for the specification."""
    described = _inlined(body.model_json_schema(ref_template="#/$defs/{model}"))
    return {"requestBody": {"required": True, "content": {kind: {"schema": described}}}}


def _inlined(described: dict[str, Any]) -> dict[str, Any]:
    """A schema without references, none of which leads back to itself here."""
    definitions = described.pop("$defs", {})

    def resolve(value: Any) -> Any:  # noqa: ANN401 - JSON
        if isinstance(value, list):
            return [resolve(each) for each in value]
        if not isinstance(value, dict):
            return value
        if "$ref" in value:
            return resolve(definitions[value["$ref"].removeprefix("#/$defs/")])
        return {name: resolve(each) for name, each in value.items() if name != "discriminator"}

    found: dict[str, Any] = resolve(described)
    return found


def parts(asked: ChatRequest) -> tuple[str, InputAudio]:
    """The question and the recording of a request.

    Raises:
        ApiError: it is not one message of a user with text and exactly one recording, or wants what there is not.
    """
    for name, harmless in _NOTHING.items():
        if getattr(asked, name) not in harmless:
            raise ApiError(400, f"{name} is not supported; leave it out.", "unsupported_option", param=name)
    roles = [message.role for message in asked.messages]
    if roles != ["user"]:
        raise ApiError(
            400,
            "Expected exactly one message, of the role 'user': the models' prompts have no place for system"
            f" messages or earlier turns. Given: {', '.join(role[:20] for role in roles[:10])}.",
            "unsupported_messages",
            param="messages",
        )
    content = asked.messages[0].content
    pieces = content if isinstance(content, list) else []
    audio = [piece.input_audio for piece in pieces if isinstance(piece, AudioPart)]
    texts = [piece.text for piece in pieces if isinstance(piece, TextPart)]
    if len(audio) != 1 or not texts:
        raise ApiError(
            400,
            f"Expected a question of type 'text' and one recording of type 'input_audio'; given {len(texts)} and"
            f" {len(audio)}.",
            "unsupported_messages",
            param="messages",
        )
    given = audio[0]
    if (given.data is None) == (given.recording is None) or (given.data is not None and given.format is None):
        raise ApiError(
            400, "Expected either data with its format, or recording, in input_audio.", param="input_audio"
        )
    return "\n".join(texts), given


def question(asked: ChatRequest, text: str, options: Options) -> Question:
    """What is asked, checked.

    Raises:
        QueryError: the question or the choices are unusable.
        UnknownNameError: no such pruner.
        ApiError: something is too long, or two methods were named.
    """
    check_size("question", text, options)
    choices = check_choices(asked.choices or ())
    check_size("choices", "".join(choices), options)  # together: all of them are scored
    if asked.compression_ratio is not None and asked.pruner not in (None, "full"):
        raise ApiError(400, "Give a pruner or a compression_ratio, not both.", param="compression_ratio")
    if asked.pruning_rate is not None and asked.pruner is None:
        raise ApiError(400, "A pruning_rate was given without a pruner; name one.", param="pruner")
    most = asked.max_completion_tokens or asked.max_tokens or options.default_new_tokens
    if most > options.max_new_tokens:
        raise ApiError(400, f"max_tokens is {most}; expected at most {options.max_new_tokens}.", param="max_tokens")
    decoding = Decoding(most, asked.temperature or 0.0, asked.top_p or 1.0, asked.seed)
    return Question(check_question(text), choices, _pruner(asked), asked.compression_ratio, decoding)


def check_size(what: str, text: str, options: Options) -> None:
    """Raises ApiError if a question, or all choices together, are too long."""
    if len(text) > options.max_question:
        raise ApiError(
            400,
            f"{len(text)} characters of {what} were given; expected at most {options.max_question}.",
            "question_too_long",
            param=what,
        )


def _pruner(asked: ChatRequest) -> Pruner:
    given = {"pruning_rate": asked.pruning_rate, "seed": None if asked.seed is None else abs(asked.seed)}
    return pruner(asked.pruner or "full", **{name: value for name, value in given.items() if value is not None})
