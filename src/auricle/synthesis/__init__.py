"""Speech synthesis: engines behind one contract, dialogues with known times, and recording conditions."""

from auricle.synthesis.base import Speech, Voice
from auricle.synthesis.dialogue import SpokenDialogue, SpokenSentence, Turn, voice_dialogue
from auricle.synthesis.voices import voice, voices

__all__ = [
    "Speech",
    "SpokenDialogue",
    "SpokenSentence",
    "Turn",
    "Voice",
    "voice",
    "voice_dialogue",
    "voices",
]
