"""Answers, by the client that most people have."""

import json

import openai
import pytest

import auricle
from auricle import audio, registry
from auricle.summarization import asking, summarizer
from auricle.summarization.summarizer import UNTRAINED
from serving.servers import QUESTION, ask, body, encoded, error, messages, noise, upload, wav

CHOICES = ["the boat", "a lamp", '<b>nothing</b> & "more"']


@pytest.fixture
def recording(tmp_path):
    (tmp_path / "one.wav").write_bytes(wav(40))
    return tmp_path / "one.wav"


def chat(server, audio, **more):
    return server.openai.chat.completions.create(
        model="auricle-mini", messages=messages(audio), max_tokens=more.pop("max_tokens", 8), extra_body=more
    )


def alike(extension, expected):
    """All that two answers say of themselves but their times."""
    assert extension["tokens"] == vars(expected.tokens)
    assert extension["kept_spans"] == [list(each) for each in expected.kept_spans]
    assert extension["seconds"].keys() == {"encode", "prune", "prefill", "decode"}
    for name in ("pruner", "pruning_rate", "compression_ratio", "choice", "scores"):
        assert extension[name] == getattr(expected, name), name


@pytest.mark.parametrize(
    ("given", "pruner"),
    [
        ({}, auricle.Full()),
        ({"pruner": "speechprune", "pruning_rate": 0.4}, auricle.SpeechPrune(0.4)),
        ({"pruner": "searchlight", "pruning_rate": 0.9}, auricle.Searchlight(0.9)),
        ({"pruner": "random-pieces", "pruning_rate": 0.5, "seed": 3}, auricle.RandomPieces(0.5, seed=3)),
    ],
)
def test_an_answer_is_that_of_the_library(server, lm, recording, given, pruner):
    said = chat(server, recording.read_bytes(), **given)
    expected = auricle.answer(lm, auricle.encode(lm, recording), lm.query(QUESTION), pruner, max_new_tokens=8)
    assert said.choices[0].message.content == expected.answer
    alike(said.auricle, expected)
    assert said.auricle["cached"] is False
    assert said.usage.prompt_tokens == expected.tokens.kept + expected.tokens.text
    assert said.usage.completion_tokens == 8
    assert said.choices[0].finish_reason == "length"


def test_a_choice_is_scored_as_by_the_library_and_comes_back_as_it_was(server, lm, recording):
    said = chat(server, recording.read_bytes(), choices=CHOICES, pruner="uniform", pruning_rate=0.2)
    expected = auricle.answer(lm, auricle.encode(lm, recording), lm.query(QUESTION, CHOICES), auricle.Uniform(0.2))
    assert said.choices[0].message.content == expected.answer
    assert said.auricle["scores"] == pytest.approx(expected.scores, abs=1e-4)
    assert said.auricle["choice"] == expected.choice
    assert said.choices[0].finish_reason == "stop"
    markup = "<script>alert(1)</script>"
    raw = ask(server, recording.read_bytes(), choices=[markup, markup + "!"])
    assert raw.headers["content-type"] == "application/json"
    assert raw.json()["choices"][0]["message"]["content"].startswith(markup)


def test_a_memory_is_asked(server, lm, recording, encodes):
    said = chat(server, recording.read_bytes(), compression_ratio=4)
    assert said.auricle["cached"] is False
    made = summarizer.load(lm, UNTRAINED)
    memory = asking.summarize(made, recording, made.at(4))
    expected = asking.answer(made, memory, lm.query(QUESTION), max_new_tokens=8)
    assert said.choices[0].message.content == expected.answer
    alike(said.auricle, expected)
    del encodes[:]
    again = chat(server, said.auricle["recording"], compression_ratio=4)
    assert again.choices[0].message.content == expected.answer
    assert again.auricle["cached"] is True
    assert not encodes


@pytest.mark.parametrize(
    ("name", "options"),
    [("full", {}), ("searchlight", {"pruning_rate": 0.9}), ("fastv:layer=1", {}), ("a memory", {})],
)
def test_the_memory_of_a_prompt_is_told(server, lm, recording, name, options):
    made = summarizer.load(lm, UNTRAINED)
    given = {"compression_ratio": 4} if name == "a memory" else {"pruner": name, **options}
    said = chat(server, recording.read_bytes(), **given)
    tokens, query = auricle.encode(lm, recording).tokens, lm.query(QUESTION)
    if name == "a memory":
        prompt = made.prompt(asking.summarize(made, recording, made.at(4)), query)
    else:
        prompt = registry.pruner(name, **options).reduce(tokens, query, lm).prompt(lm.prompt(tokens, query))
    layers = lm.prefill(prompt).cache.layers
    assert said.auricle["kv_bytes"] == sum(each.keys.nbytes + each.values.nbytes for each in layers)


def test_streamed_is_what_is_not_streamed(server, recording):
    given = recording.read_bytes()
    whole = chat(server, given, max_tokens=30)
    stream = server.openai.chat.completions.create(
        model="auricle-mini", messages=messages(given), max_tokens=30, stream=True
    )
    chunks = list(stream)
    texts = [chunk.choices[0].delta.content for chunk in chunks if chunk.choices[0].delta.content]
    assert len(texts) > 5
    assert "".join(texts) == whole.choices[0].message.content
    assert chunks[0].choices[0].delta.role == "assistant"
    assert [chunk.choices[0].finish_reason for chunk in chunks] == [None] * (len(chunks) - 1) + ["length"]
    assert chunks[-1].usage == whole.usage
    assert chunks[-1].auricle["tokens"] == whole.auricle["tokens"]
    assert not hasattr(chunks[0], "auricle")


def test_a_stream_comes_as_it_is_made_and_ends_as_openai_ends(server, recording):
    with (
        server.http as http,
        http.stream("POST", "/v1/chat/completions", json=body(recording.read_bytes(), stream=True)) as response,
    ):
        assert response.headers["content-type"].startswith("text/event-stream")
        lines = [line for line in response.iter_lines() if line]
    assert lines[-1] == "data: [DONE]"
    assert all(json.loads(line.removeprefix("data: "))["object"] == "chat.completion.chunk" for line in lines[:-1])


def test_the_second_question_encodes_nothing(server, encodes):
    first = ask(server, wav(3)).json()["auricle"]
    again = ask(server, wav(3), "Who speaks?").json()["auricle"]
    by_hash = ask(server, first["recording"], "Who else?").json()["auricle"]
    assert [each["cached"] for each in (first, again, by_hash)] == [False, True, True]
    assert again["recording"] == by_hash["recording"] == first["recording"]
    assert len(encodes) == 1
    ask(server, wav(3, seed=1))
    assert len(encodes) == 2


def test_other_formats_are_read(server, encodes):
    for kind, subtype in (("FLAC", "PCM_16"), ("OGG", "VORBIS"), ("MP3", "MPEG_LAYER_III")):
        audio = encoded(noise(1), format=kind, subtype=subtype)
        assert ask(server, audio, kind=kind.lower()).status_code == 200
    assert len(encodes) == 3


def test_drawing_is_as_the_seed_says(server):
    texts = [ask(server, wav(1), temperature=1.5, seed=seed).json()["choices"] for seed in (1, 1, 2)]
    assert texts[0] == texts[1] != texts[2]


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"model": "gpt"}, (404, "model_not_found")),
        ({"messages": []}, (400, "invalid_request")),
        ({"messages": "hello"}, (400, "invalid_request")),
        (
            {"messages": [{"role": "system", "content": "Be brief."}, *messages("0" * 64)]},
            (400, "unsupported_messages"),
        ),
        ({"messages": [{"role": "user", "content": "no recording"}]}, (400, "unsupported_messages")),
        (
            {"messages": [{"role": "user", "content": messages("0" * 64)[0]["content"] * 2}]},
            (400, "unsupported_messages"),
        ),
        ({"messages": messages("0" * 64)}, (404, "recording_not_found")),
        ({"messages": messages("/etc/passwd")}, (400, "invalid_request")),
        ({"messages": messages("../" + "0" * 61)}, (400, "invalid_request")),
        ({"messages": messages(b"no recording at all")}, (400, "invalid_audio_format")),
        ({"messages": messages(wav(1), kind="mp3")}, (400, "invalid_audio_format")),
        ({"messages": messages(wav(1), kind="exe")}, (400, "invalid_request")),
        ({"messages": messages(wav(1)[:2000])}, (400, "invalid_audio")),
        ({"messages": messages(b"RIFF....WAVE" * 99)}, (400, "invalid_audio")),
        ({"messages": messages(wav(0.01))}, (400, "invalid_audio")),
        ({"messages": messages(wav(1), " ")}, (400, "invalid_question")),
        ({"pruner": "speechprun"}, (400, "unknown_name")),
        ({"pruner": "speechprune", "pruning_rate": 1.5}, (400, "invalid_request")),
        ({"pruning_rate": 0.5}, (400, None)),
        ({"pruner": "speechprune", "compression_ratio": 4}, (400, None)),
        ({"compression_ratio": 0}, (400, "invalid_request")),
        ({"choices": ["one"]}, (400, "invalid_question")),
        ({"choices": ["one", "one "]}, (400, "invalid_question")),
        ({"choices": [str(each) for each in range(27)]}, (400, "invalid_question")),
        ({"max_tokens": 0}, (400, "invalid_request")),
        ({"max_tokens": 4096}, (400, "context_length_exceeded")),
        ({"max_tokens": 4097}, (400, None)),
        ({"max_tokens": "many"}, (400, "invalid_request")),
        ({"temperature": 3}, (400, "invalid_request")),
        ({"n": 2}, (400, "unsupported_option")),
        ({"tools": [{"type": "function"}]}, (400, "unsupported_option")),
        ({"response_format": {"type": "json_object"}}, (400, "unsupported_option")),
    ],
    ids=lambda each: str(each)[:60],
)
def test_what_cannot_be_answered_says_why(shared, change, expected):
    assert error(ask(shared, wav(1), **change)) == expected


def test_what_cannot_be_streamed_says_why_as_if_it_were_not_streamed(shared):
    for given, expected in (("0" * 64, (404, "recording_not_found")), (wav(0.01), (400, "invalid_audio"))):
        assert error(ask(shared, given, stream=True)) == expected
    assert error(ask(shared, wav(1), stream=True, max_tokens=4096)) == (400, "context_length_exceeded")


def test_base64_is_checked(shared):
    for data in ("%%%", "abc", "UklG\u00e9", "UklG RkZG"):
        given = body(wav(1))
        given["messages"][0]["content"][1]["input_audio"]["data"] = data
        with shared.http as http:
            assert error(http.post("/v1/chat/completions", json=given)) == (400, "invalid_base64")


def test_fields_that_nobody_knows_are_ignored(shared):
    assert ask(shared, wav(1), user="me", metadata={"a": "b"}, store=False, unheard_of=1).status_code == 200


def test_the_client_raises_its_own_errors(shared):
    with pytest.raises(openai.NotFoundError, match="expected 'auricle-mini'"):
        shared.openai.chat.completions.create(model="gpt", messages=messages(wav(1)))
    with pytest.raises(openai.BadRequestError, match="exactly one message"):
        shared.openai.chat.completions.create(
            model="auricle-mini", messages=[{"role": "system", "content": "x"}, *messages(wav(1))]
        )


def test_every_pruner_can_be_asked_by_its_name(shared):
    with shared.http as http:
        listed = http.get("/v1/pruners").json()["data"]
    assert [each["id"] for each in listed] == registry.pruner_names()
    assert listed[2]["options"] == {"pruning_rate": 0.6}
    for each in listed:
        name = each["id"] + (":layer=1" if each["id"] in ("fastv", "dart") else "")  # the tiny model has two layers
        assert ask(shared, wav(1), pruner=name, max_tokens=1).json()["auricle"]["pruner"] == each["id"]


def test_models_are_listed(shared):
    assert [model.id for model in shared.openai.models.list()] == ["auricle-mini"]


def test_what_was_uploaded_is_asked_by_its_hash(shared, lm):
    given = wav(2, seed=9)
    recording = upload(shared, given).json()["recording"]
    said = ask(shared, recording).json()
    expected = auricle.ask(
        lm, audio.load(noise(2, 9), 16000), QUESTION, (), auricle.Full(), sampling_rate=16000, max_new_tokens=8
    )
    assert said["choices"][0]["message"]["content"] == expected.answer
