"""Names of pruners, benchmarks and models, and where to find them; nothing is imported before it is asked for.

Another package adds its own by entry points in the groups `auricle.pruners`, `auricle.benchmarks` and
`auricle.models`:

```toml
[project.entry-points."auricle.pruners"]
mine = "my_package.my_module:MyPruner"
```
"""

from collections.abc import Callable, Mapping
from difflib import get_close_matches
from importlib import import_module
from importlib.metadata import entry_points
from inspect import signature
from typing import TYPE_CHECKING, Any

from auricle.errors import MissingDependencyError, OptionError, UnknownNameError
from auricle.pruning.base import Pruner

if TYPE_CHECKING:
    from auricle.benchmarks.base import Benchmark

PRUNERS: Mapping[str, str] = {
    "full": "auricle.pruning.full:Full",
    "first30": "auricle.pruning.first30:First30",
    "speechprune": "auricle.pruning.speechprune:SpeechPrune",
    "searchlight": "auricle.pruning.searchlight:Searchlight",
    "fastv": "auricle.pruning.fastv:FastV",
    "dart": "auricle.pruning.dart:DART",
    "fastadasp": "auricle.pruning.fastadasp:FastAdaSP",
    "a-tome": "auricle.pruning.atome:AToMe",
    "visionzip": "auricle.pruning.visionzip:VisionZip",
    "segmentwise": "auricle.pruning.segmentwise:Segmentwise",
    "sa-map": "auricle.pruning.samap:SAMAP",
    "fastlongspeech": "auricle.pruning.fastlongspeech:FastLongSpeech",
    "random-pieces": "auricle.pruning.random_pieces:RandomPieces",
    "random-crop": "auricle.pruning.random_crop:RandomCrop",
    "uniform": "auricle.pruning.uniform:Uniform",
}

BENCHMARKS: Mapping[str, str] = {
    "spiral": "auricle.benchmarks.spiral:Spiral",
    "dream-tts": "auricle.benchmarks.audio_llms:DreamTTS",
    "cn-college-listen": "auricle.benchmarks.audio_llms:CNCollegeListen",
    "longspeech": "auricle.benchmarks.longspeech:LongSpeech",
    "audiomarathon": "auricle.benchmarks.audiomarathon:AudioMarathon",
    "jsonl": "auricle.benchmarks.jsonl:Jsonl",
}

_BENCHMARK_GROUP = "auricle.benchmarks"
_PRUNER_GROUP = "auricle.pruners"

# Class names in a Hugging Face config's `architectures`, or of a loaded model.
MODELS: Mapping[str, str] = {
    "AuricleMiniForConditionalGeneration": "auricle.models.mini.adapter:AuricleMini",
    "Qwen2AudioForConditionalGeneration": "auricle.models.qwen2_audio:Qwen2Audio",
    "AudioFlamingo3ForConditionalGeneration": "auricle.models.audio_flamingo3:AudioFlamingo3",
    "MusicFlamingoForConditionalGeneration": "auricle.models.music_flamingo:MusicFlamingo",
    "GlmAsrForConditionalGeneration": "auricle.models.glm_asr:GlmAsr",
    "FunAsrNanoForConditionalGeneration": "auricle.models.fun_asr_nano:FunAsrNano",
    "VoxtralForConditionalGeneration": "auricle.models.voxtral:Voxtral",
    "Qwen2_5OmniThinkerForConditionalGeneration": "auricle.models.qwen2_5_omni:Qwen25Omni",
    "Qwen2_5OmniForConditionalGeneration": "auricle.models.qwen2_5_omni:Qwen25Omni",
    "Qwen2_5OmniModel": "auricle.models.qwen2_5_omni:Qwen25Omni",
    "Qwen3OmniMoeThinkerForConditionalGeneration": "auricle.models.qwen3_omni_moe:Qwen3OmniMoe",
    "Qwen3OmniMoeForConditionalGeneration": "auricle.models.qwen3_omni_moe:Qwen3OmniMoe",
    "Qwen3ASRForConditionalGeneration": "auricle.models.qwen3_asr:Qwen3ASR",
    "GraniteSpeechForConditionalGeneration": "auricle.models.granite_speech:GraniteSpeech",
    "GraniteSpeechPlusForConditionalGeneration": "auricle.models.granite_speech:GraniteSpeech",
    "Phi4MultimodalForCausalLM": "auricle.models.phi4_multimodal:Phi4Multimodal",
    "DiVAModel": "auricle.models.diva:DiVA",
}


def pruner_class(name: str) -> Callable[..., Pruner]:
    """The pruner of that name, as its frozen dataclass.

    Raises:
        UnknownNameError: there is none; the message says what there is.
    """
    factory: Callable[..., Pruner] = find(name, PRUNERS, "pruner", _PRUNER_GROUP)
    return factory


def pruner(name: str, **options: object) -> Pruner:
    """A pruner by name, with those of `options` that it has; the others must not matter to it.

    `full` and `first30` have no rate and only random methods have a seed, so that one set of options fits all.

    Args:
        name: see `pruner_names`; options of its own may follow, as in "searchlight:window=8,choices=false".
        options: what the name does not say.

    Raises:
        UnknownNameError: no such pruner.
        OptionError: an option has a value outside its range or of another kind, or no pruner knows it.
    """
    name, _, given = name.partition(":")
    factory = pruner_class(name)
    options = {**options, **_options_of(name, given, factory)}
    unknown = options.keys() - {"pruning_rate", "seed"} - signature(factory).parameters.keys()
    if unknown:
        raise OptionError(f"The pruner '{name}' has no option {', '.join(sorted(unknown))}.")
    return factory(**{k: v for k, v in options.items() if k in signature(factory).parameters})


def _options_of(name: str, given: str, factory: Callable[..., Pruner]) -> dict[str, object]:
    """Options as they are written behind a name, in the kinds of their defaults."""
    parameters, found = signature(factory).parameters, {}
    for each in filter(None, given.split(",")):
        option, _, text = (part.strip() for part in each.partition("="))
        if option not in parameters:
            raise OptionError(f"The pruner '{name}' has no option '{option}'; it has {', '.join(parameters)}.")
        found[option] = _value(option, text, parameters[option].default)
    return found


def _value(option: str, text: str, default: object) -> object:
    if isinstance(default, str):
        return text
    truths = {"true": True, "false": False}
    try:
        return truths[text.lower()] if isinstance(default, bool) else type(default)(text)  # type: ignore[call-arg]
    except (KeyError, ValueError, TypeError) as error:
        kind = "true or false" if isinstance(default, bool) else f"a number such as {default}"
        raise OptionError(f"The option {option} is '{text}'; expected {kind}.") from error


def pruner_name(pruner: Pruner) -> str:
    """The registered name of a pruner, or else its class's name."""
    target = f"{type(pruner).__module__}:{type(pruner).__qualname__}"
    points = {point.name: point.value for point in entry_points(group=_PRUNER_GROUP)}
    return next((name for name, value in {**points, **PRUNERS}.items() if value == target), type(pruner).__name__)


def pruner_names() -> list[str]:
    """All names that `pruner` knows, those of other packages at the end."""
    return [*PRUNERS, *sorted({point.name for point in entry_points(group=_PRUNER_GROUP)} - PRUNERS.keys())]


def benchmark_class(name: str) -> "Callable[..., Benchmark]":
    """The benchmark of that name, as its frozen dataclass.

    Raises:
        UnknownNameError: there is none; the message says what there is.
    """
    factory: Callable[..., Benchmark] = find(name, BENCHMARKS, "benchmark", _BENCHMARK_GROUP)
    return factory


def benchmark(name: str, **options: object) -> "Benchmark":
    """A benchmark by name.

    Args:
        name: see `benchmark_names`.
        options: of its dataclass, such as `data` and `longer_than`.

    Raises:
        UnknownNameError: no such benchmark.
        OptionError: it has no such option, or one is missing.
    """
    factory = benchmark_class(name)
    parameters = signature(factory).parameters
    if unknown := options.keys() - parameters.keys():
        raise OptionError(f"The benchmark '{name}' has no option {', '.join(sorted(unknown))}.")
    needed = [each.name for each in parameters.values() if each.default is each.empty]
    if missing := [each for each in needed if each not in options]:
        raise OptionError(f"The benchmark '{name}' needs {', '.join(missing)}.")
    return factory(**options)


def benchmark_names() -> list[str]:
    """All names that `benchmark` knows, those of other packages at the end."""
    return [
        *BENCHMARKS,
        *sorted({point.name for point in entry_points(group=_BENCHMARK_GROUP)} - BENCHMARKS.keys()),
    ]


def find(name: str, table: Mapping[str, str], kind: str, group: str) -> Any:  # noqa: ANN401 - what the table names
    """Imports what `table`, or else an installed entry point of `group`, holds under `name`.

    Raises:
        UnknownNameError: there is none; the message names the nearest and all there are.
        MissingDependencyError: the entry point leads nowhere.
    """
    if name in table:
        module, _, attribute = table[name].partition(":")
        return getattr(import_module(module), attribute)
    points = {point.name: point for point in entry_points(group=group)}
    if name not in points:
        raise unknown_name(name, [*table, *sorted(points.keys() - table.keys())], kind)
    try:
        return points[name].load()
    except (ImportError, AttributeError) as error:
        raise MissingDependencyError(f"The {kind} '{name}' ({points[name].value}) is broken: {error}.") from error


def unknown_name(name: str, available: list[str], kind: str) -> UnknownNameError:
    """The error for a name that is not there: what was given, the nearest, and all there are."""
    lowered = {each.lower(): each for each in available}
    near = [lowered[each] for each in get_close_matches(name.lower(), lowered, n=1, cutoff=0.5)]
    hint = f" Did you mean '{near[0]}'?" if near else ""
    return UnknownNameError(f"There is no {kind} '{name}'.{hint} Available: {', '.join(available)}.")
