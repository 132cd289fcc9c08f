"""What a server is told when it starts."""

from dataclasses import dataclass, fields
from pathlib import Path

from auricle.errors import OptionError


@dataclass(frozen=True)
class Options:
    """Limits of a server, and where it keeps recordings.

    Attributes:
        store: folder of recordings, their tokens and memories; one server at a time.
        store_bytes: what the folder may hold; the least recently used goes first.
        max_queue: requests that may wait for the model; one more is refused with 429.
        max_upload_bytes: of a recording as a file.
        max_seconds: of a recording.
        max_idle_seconds: without a byte of a request's body, before it is given up with 408.
        max_question: characters of a question, and of all choices together.
        max_new_tokens: that a request may ask for.
        default_new_tokens: where an answer ends if the request does not say.
        api_key: that requests must bear; None lets everybody in.
        hosts: names that requests may call the server by, beside IP addresses; "*" is any.
        sst: folder of Speech Summarization Tokens (`auricle.summarization.summarizer.load`).
        page: folder of static files that is served at `/`, where it is there.
    """

    store: Path
    store_bytes: int = 10 * 10**9
    max_queue: int = 64
    max_upload_bytes: int = 200 * 10**6
    max_seconds: float = 7200.0
    max_idle_seconds: float = 120.0
    max_question: int = 4000
    max_new_tokens: int = 4096
    default_new_tokens: int = 256
    api_key: str | None = None
    hosts: tuple[str, ...] = ("localhost",)
    sst: Path | None = None
    page: Path = Path(__file__).parent / "page"

    def __post_init__(self) -> None:
        """Checks the numbers and the key.

        Raises:
            OptionError: one of them is too small, or the key is empty.
        """
        for field in fields(self):
            value, least = getattr(self, field.name), 0 if field.name == "max_queue" else 1
            if isinstance(value, int | float) and value < least:
                raise OptionError(f"{field.name} is {value}; expected at least {least}.")
        if self.api_key is not None and not self.api_key.strip():
            raise OptionError("The API key is empty; give one of at least a character, or none.")
