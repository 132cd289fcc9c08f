"""Speech LLMs on long recordings.

```python
import auricle

lm = auricle.load("mini")
answer = auricle.ask(lm, "meeting.wav", "What is decided?", pruner=auricle.SpeechPrune(pruning_rate=0.6))
```

Importing this package loads neither torch nor transformers; each name loads what it needs when it is first used.
"""

from importlib import import_module
from importlib.metadata import version
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from auricle.asking import Answer, Recording, answer, ask, encode
    from auricle.audio import load as load_audio
    from auricle.errors import AuricleError
    from auricle.loading import load
    from auricle.profiling import profile
    from auricle.pruning.base import Pruner
    from auricle.pruning.first30 import First30
    from auricle.pruning.full import Full
    from auricle.pruning.random_crop import RandomCrop
    from auricle.pruning.random_pieces import RandomPieces
    from auricle.pruning.searchlight import Searchlight
    from auricle.pruning.speechprune import SpeechPrune
    from auricle.pruning.uniform import Uniform
    from auricle.registry import pruner
    from auricle.speech_lm import AudioTokens, Query, SpeechLM, SpeechPrompt
    from auricle.transcribing import Transcript, transcribe

__all__ = [
    "Answer",
    "AudioTokens",
    "AuricleError",
    "First30",
    "Full",
    "Pruner",
    "Query",
    "RandomCrop",
    "RandomPieces",
    "Recording",
    "Searchlight",
    "SpeechLM",
    "SpeechPrompt",
    "SpeechPrune",
    "Transcript",
    "Uniform",
    "__version__",
    "answer",
    "ask",
    "encode",
    "load",
    "load_audio",
    "profile",
    "pruner",
    "transcribe",
]

__version__ = version("auricle")

_WHERE = {
    "auricle.asking": ("Answer", "Recording", "answer", "ask", "encode"),
    "auricle.audio": ("load_audio",),
    "auricle.errors": ("AuricleError",),
    "auricle.loading": ("load",),
    "auricle.profiling": ("profile",),
    "auricle.pruning.base": ("Pruner",),
    "auricle.pruning.first30": ("First30",),
    "auricle.pruning.full": ("Full",),
    "auricle.pruning.random_crop": ("RandomCrop",),
    "auricle.pruning.random_pieces": ("RandomPieces",),
    "auricle.pruning.searchlight": ("Searchlight",),
    "auricle.pruning.speechprune": ("SpeechPrune",),
    "auricle.pruning.uniform": ("Uniform",),
    "auricle.registry": ("pruner",),
    "auricle.speech_lm": ("AudioTokens", "Query", "SpeechLM", "SpeechPrompt"),
    "auricle.transcribing": ("Transcript", "transcribe"),
}
_MODULES = {name: module for module, names in _WHERE.items() for name in names}


def __getattr__(name: str) -> object:
    """Imports a public name when it is first used."""
    if name not in _MODULES:
        raise AttributeError(f"module 'auricle' has no attribute '{name}'")
    attribute = "load" if name == "load_audio" else name
    value: object = getattr(import_module(_MODULES[name]), attribute)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return [*globals(), *__all__]
