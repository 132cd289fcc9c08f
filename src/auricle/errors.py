"""What can go wrong, as one tree.

```
AuricleError                    everything that auricle raises on purpose
├── AudioError                  a recording cannot be read or holds nothing usable
│   └── AudioLengthError        a recording is longer than is accepted
├── OptionError                 an option has a value outside its range
├── UnknownNameError            no pruner, model or voice of that name; says what there is
├── QueryError                  the question or the choices are unusable
├── ModelError                  a model cannot be loaded or used
│   ├── UnprunableModelError    the model's speech tokens cannot be dropped, and why
│   └── ContextLengthError      the prompt is longer than the model's context
├── WeightsError                weights are missing, damaged or cannot be stored
├── MissingDependencyError      an optional package or program is not installed
├── SynthesisError              an utterance could not be spoken
├── DataError                   a data set cannot be read, or a record of it is not what was expected
├── MemoryFileError             a file is no memory of a recording, or a damaged one
├── EndpointError               a language model's endpoint cannot be used
└── TrainingError               a training run cannot start or go on
```

Messages are one sentence: what was given, what was expected, what to do.
"""


class AuricleError(Exception):
    """Everything that auricle raises on purpose; the command line prints it and exits with code 2."""


class AudioError(AuricleError):
    """A recording cannot be read or holds nothing usable."""


class AudioLengthError(AudioError):
    """A recording is longer than is accepted."""


class OptionError(AuricleError, ValueError):
    """An option has a value outside its range."""


class UnknownNameError(AuricleError, LookupError):
    """No pruner, model or voice of that name."""


class QueryError(AuricleError, ValueError):
    """The question or the choices are unusable."""


class ModelError(AuricleError):
    """A model cannot be loaded or used."""


class UnprunableModelError(ModelError):
    """The model's speech tokens cannot be dropped before its LLM runs."""


class ContextLengthError(ModelError):
    """The prompt is longer than the model's context."""


class WeightsError(AuricleError):
    """Weights are missing, damaged or cannot be stored."""


class MissingDependencyError(AuricleError):
    """An optional package or program is not installed."""


class SynthesisError(AuricleError):
    """An utterance could not be spoken."""


class DataError(AuricleError):
    """A data set cannot be read, or a record of it is not what was expected."""


class MemoryFileError(AuricleError):
    """A file is no memory of a recording, or a damaged one."""


class EndpointError(AuricleError):
    """A language model's endpoint cannot be used."""


class TrainingError(AuricleError):
    """A training run cannot start or go on."""
