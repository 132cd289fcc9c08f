"""Requests that nobody would think of: none of them is answered by an error of the server's."""

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from schemathesis import GenerationMode

from auricle.serving.schema import ChatRequest
from serving.servers import KEY, body, error, messages, running, upload, wav
from tiny_llama import TinyLlama

CHAT, TRANSCRIPTIONS = ("POST", "/v1/chat/completions"), ("POST", "/v1/audio/transcriptions")
RECORDINGS, SOUND = ("POST", "/v1/recordings"), ("GET", "/v1/recordings/{recording}/audio")
SIMILARITY = ("POST", "/v1/similarity")
MALFORMED = {CHAT: 90, TRANSCRIPTIONS: 30, RECORDINGS: 30, SIMILARITY: 40, SOUND: 10}  # how many are tried
RIGHT = {CHAT: 80, TRANSCRIPTIONS: 15, RECORDINGS: 20, SIMILARITY: 20, SOUND: 20}
READING = [("GET", "/v1/models"), ("GET", "/v1/pruners"), ("GET", "/health")]  # take nothing
FIELDS = list(ChatRequest.model_fields)
KEPT = wav(1)  # is in the store
QUICK = {"deadline": None, "database": None, "derandomize": True, "suppress_health_check": list(HealthCheck)}


@pytest.fixture(scope="module")
def api(tmp_path_factory):
    options = {"api_key": KEY, "default_new_tokens": 2, "max_new_tokens": 8}
    with running(TinyLlama(), tmp_path_factory.mktemp("fuzz") / "store", **options) as server:
        recording = upload(server, KEPT).json()["recording"]
        yield schemathesis.openapi.from_dict(httpx.get(f"{server.url}/openapi.json").json()), server, recording


def send(case, server, **headers):
    """The status of the answer, which is one that clients can read."""
    response = case.call(base_url=server.url, headers={"Authorization": f"Bearer {KEY}"} | headers)
    assert response.status_code < 500, response.text
    assert b"Traceback" not in response.content
    return error(response)[0] if response.status_code >= 400 else response.status_code


def test_the_specification_names_every_endpoint(api):
    found = {(each.ok().method.upper(), each.ok().path) for each in api[0].get_all_operations()}
    assert found == MALFORMED.keys() | set(READING)
    assert MALFORMED.keys() == RIGHT.keys()
    assert sum(MALFORMED.values()) == 200


@pytest.mark.parametrize("operation", MALFORMED, ids=" ".join)
def test_malformed_requests_are_refused(api, operation):
    schema, server, _ = api
    method, path = operation
    answers = []

    @settings(max_examples=MALFORMED[operation], **QUICK)
    @given(case=schema[path][method].as_strategy(generation_mode=GenerationMode.NEGATIVE))
    def ask(case):
        answers.append(send(case, server))

    ask()
    assert len(answers) >= MALFORMED[operation]
    assert 400 in answers
    assert min(answers) >= 400


def fit(case, audio, question, named):
    """Has a request that is right by the specification name what is there, and ask for little else."""
    if case.path == SOUND[1]:
        case.path_parameters["recording"] = audio
        return
    case.body = {name: value for name, value in case.body.items() if name in named or name not in FIELDS}
    case.body |= {
        CHAT[1]: {"model": "tiny-llama", "messages": messages(audio, question)},
        SIMILARITY[1]: {"recording": audio, "question": question},
    }.get(case.path, {"model": "tiny-llama", "file": audio})


@pytest.mark.parametrize("operation", RIGHT, ids=" ".join)
def test_right_requests_are_answered_or_refused(api, operation):
    schema, server, recording = api
    method, path = operation
    damaged = (KEPT[:500], KEPT[:40], KEPT[:-9], b"RIFF\0\0\0\0WAVEfmt ", b"fLaC" + KEPT, b"\xff\xfb" * 99, b"")
    uploads = st.sampled_from((KEPT, wav(1, 1), *damaged))
    audio = {
        CHAT: st.just(recording) | uploads,
        TRANSCRIPTIONS: uploads | st.binary(max_size=50),
        RECORDINGS: uploads | st.binary(max_size=50),
    }.get(operation, st.sampled_from((recording, recording, "0" * 64)))
    numbers = st.integers(-5, 10**6) | st.just("")
    spans = st.lists(st.builds("{}-{}".format, numbers, numbers), max_size=3).map(
        lambda each: "bytes=" + ",".join(each)
    )
    answers = []

    @settings(max_examples=RIGHT[operation], **QUICK)
    @given(
        case=schema[path][method].as_strategy(),
        audio=audio,
        question=st.text(max_size=30),
        named=st.sets(st.sampled_from(FIELDS), max_size=3),
        span=spans,
    )
    def ask(case, audio, question, named, span):
        fit(case, audio, question, named)
        answers.append(send(case, server, **({"Range": span} if operation == SOUND else {})))

    ask()
    assert {200, 206} & set(answers)
    assert set(answers) & {400, 404}


@pytest.mark.parametrize("operation", READING, ids=" ".join)
def test_what_is_only_read_is_always_there(api, operation):
    method, path = operation
    assert send(api[0][path][method].Case(), api[1]) == 200


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


@settings(max_examples=60, **QUICK)
@example(changes={"choices": ["\x00", "<|im_end|>"]}, question="<|audio|><|im_start|>")
@example(changes={"pruner": "random-pieces", "pruning_rate": 1, "seed": -(2**63)}, question="\u202e\U0001f9ff")
@example(changes={"temperature": 1e-9, "top_p": 1e-9}, question="?")
@example(changes={"compression_ratio": 10_000}, question="?")
@given(changes=st.dictionaries(st.sampled_from(FIELDS), VALUES, max_size=2), question=st.text(max_size=30))
def test_a_good_request_with_odd_values_is_no_server_error(api, changes, question):
    asked = body(wav(1), question, max_tokens=2) | {"model": "tiny-llama"} | changes
    with api[1].http as http:
        response = http.post("/v1/chat/completions", json=asked)
    assert response.status_code < 500, response.text
