"""The command line: `auricle`. This module is its edge, where every error becomes one sentence and an exit code."""

import os
import sys
import warnings
from collections.abc import Sequence
from typing import Any

FAILED, INTERRUPTED = 2, 130

# What the libraries below print on their own, in the words of their own switches.
_QUIET = {
    "TRANSFORMERS_VERBOSITY": "error",
    "HF_HUB_VERBOSITY": "error",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "KINETO_LOG_LEVEL": "99",
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line and returns its exit code: 0, 2 after an error, 130 after an interrupt.

    Args:
        arguments: without the program's name; by default those of the process.
    """
    if os.environ.get("AURICLE_DEBUG"):
        return _run(arguments)
    for name, value in _QUIET.items():
        os.environ.setdefault(name, value)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return _run(arguments)
    except KeyboardInterrupt:
        return _fail("interrupted.", INTERRUPTED)
    except Exception as error:
        if type(error).__name__ == "NoArgsIsHelpError":
            print(error, file=sys.stderr)  # noqa: T201
            return FAILED
        return _fail(_sentence(error), FAILED)


def _run(arguments: Sequence[str] | None) -> int:
    from typer.main import get_command

    from auricle.cli.app import app

    command: Any = get_command(app)
    code = command.main(args=arguments, prog_name="auricle", standalone_mode=False)
    return code if isinstance(code, int) else 0


def _fail(sentence: str, code: int) -> int:
    print(f"error: {sentence}", file=sys.stderr)  # noqa: T201 - this is where the command line speaks
    return code


def _sentence(error: Exception) -> str:
    """What went wrong, in one line."""
    from auricle.errors import AuricleError

    kind = type(error).__name__
    if isinstance(error, AuricleError):
        text = str(error)
    elif hasattr(error, "format_message"):  # the parser's
        text = error.format_message()
        text = text if text.endswith("?") else f"{text.rstrip('.')}; see 'auricle --help'."
    elif isinstance(error, MemoryError) or kind == "OutOfMemoryError" or "can't allocate memory" in str(error):
        text = "Out of memory; use a smaller model, a shorter recording or a higher pruning rate."
    elif isinstance(error, OSError) and error.strerror:
        name = f": '{error.filename}'" if error.filename else ""
        text = f"{error.strerror}{name}."
    else:
        text = f"This is a bug in auricle ({kind}: {error}); run it with AURICLE_DEBUG=1 and report what it prints."
    return " ".join(text.split())
