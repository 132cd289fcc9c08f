"""Tiny sets in the layouts of LongSpeech and AudioMarathon, of noise: quick to write, every case in them."""

import json
from pathlib import Path

import soundfile

from auricle.audio import SAMPLE_RATE
from fakes import noise

TASKS = (
    "ASR",
    "translation",
    "summary",
    "speaker_count",
    "content_separation",
    "language_detection",
    "emotionQA",
    "Temporal_Relative_QA",
)
REFERENCES = ("it is green", "es ist grün", "green things", "2", 3, "English", "Calm", "It is green after that.")


def wav(path: Path, seed: int = 0, seconds: float = 1.0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, noise(seconds, seed), SAMPLE_RATE)


def put(path: Path, content: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content if isinstance(content, str) else json.dumps(content, ensure_ascii=False))


def longspeech_row(task: str, reference: object, audio: str, language: str = "en") -> dict:
    user = {"role": "user", "audio": audio, "content": f"Do {task}."}
    return {"language": language, "task": task, "messages": [user, {"role": "assistant", "content": reference}]}


def write_longspeech(folder: Path, count: int = 2) -> Path:
    """`count` rows of each task about as many recordings."""
    for number in range(count):
        wav(folder / f"LongSpeech_p1/wavs/part_00/{number:06d}.wav", number)
    for task, reference in zip(TASKS, REFERENCES, strict=True):
        language = "de" if task == "translation" else "en"
        rows = [
            longspeech_row(task, reference, f"LongSpeech_p1/wavs/part_00/{number:06d}.wav", language)
            for number in range(count)
        ]
        put(folder / f"LongSpeechQA/{task}/test.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
    return folder


def four(path: str, right: str = "B", **more: object) -> dict:
    letters = {f"choice_{name}": text for name, text in zip("abcd", ("one", "two", "three", "four"), strict=True)}
    return {"path": path, "question": "Which?", "answer_gt": right, **letters, **more}


def write_audiomarathon(folder: Path) -> Path:
    """Two samples or more of each task, with what the reader has to leave out."""
    for place in ("SLUE/a", "DESED/DESED_dataset/concatenated_audio/b", "GTZAN/concatenated_audio/wav/c"):
        wav(folder / f"{place}/0.wav")
    wav(folder / "GTZAN/concatenated_audio/c/1.wav")
    put(folder / "SLUE/merged_audio_data.json", [four("a/0.wav", "D"), four("a/0.wav", "A")])
    wav(folder / "race_audio/high_1.wav")
    race = {"audio_path": "high_1.wav", "question": "Why?", "options": ["p", "q", "r", "s"], "answer": "C"}
    put(folder / "race_audio/race_benchmark.json", [race])
    task = {"path": "b/0.wav", "question": "Heard?", "answer_gt": "B"}
    task["choices"] = {"D": "w", "A": "t", "B": "u", "C": "v"}
    desed = "DESED/DESED_dataset/concatenated_audio/desed_sound_event_detection_task.json"
    put(folder / desed, {"task_info": {}, "tasks": [task]})
    meta = "GTZAN/concatenated_audio/music_genre_classification_meta.json"
    put(folder / meta, [four("c/0.wav"), four("c/1.wav")])
    wav(folder / "TAU/concatenated_resampled/park/0.wav")
    put(
        folder / "TAU/concatenated_resampled/acoustic_scene_task_meta.json",
        [four("park/0.wav", scene_label="park")],
    )
    emotions = []
    for number, (person, emotion) in enumerate(((2, "Happy"), ("10", "happy"), ("10", "sad"), ("12", "happy"))):
        wav(folder / f"VESUS/{number}.wav", number)
        emotions.append(four(f"{number}.wav", person_id=person, emotion_label=emotion))
    put(folder / "VESUS/audio_emotion_dataset.json", emotions)
    vox = "VoxCeleb/concatenated_audio"
    genders = ["Male"] * 5 + ["Female"] * 3
    for number in range(len(genders)):
        wav(folder / f"{vox}/wav/id{number}/0.wav", number)
    rows = [
        {
            "path": f"id{i}/0.wav",
            "question": "Gender?",
            "choice_a": "Male",
            "choice_b": "Female",
            "answer_gt": gender,
        }
        for i, gender in enumerate(genders)
    ]
    put(folder / f"{vox}/gender_id_task_meta.json", rows)
    groups = ("Young (18-30)", "Early (31-40)", "Mid (41-50)", "Senior (51-70)", "Elderly (71+)")
    named = {f"choice_{name}": text for name, text in zip("abcde", groups, strict=True)}
    ages = [{"path": f"id{i}/0.wav", "question": "Age?", "answer_gt": groups[i], **named} for i in range(2)]
    put(folder / f"{vox}/age_classification_task_meta.json", ages)
    for label, count in (("real", 4), ("fake", 2)):
        for number in range(count):
            wav(folder / f"HAD/concatenated_audio/{label}/HAD_train_{label}_{number}.wav", number)
    speech = folder / "librispeech-long/test-clean"
    for name in ("10/7/10-7-0001", "10/7/10-7-00010", "9/3/9-3-0000", "9/4/9-4-0000"):
        (speech / name).parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(speech / f"{name}.flac", noise(1.0), SAMPLE_RATE)
    put(speech / "10/7/10-7.trans.txt", "10-7-00010 TEN ZEROS\n10-7-0001 ONE ZERO\n")
    put(speech / "9/3/9-3-0000.txt", " ALL OF\nIT \n")
    put(speech / "9/3/9-3.trans.txt", "9-3-0000 NOT THIS\n")
    return folder
