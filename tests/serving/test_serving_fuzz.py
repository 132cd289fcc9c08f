"""Requests that nobody would think of: none of them is answered by an error of the server's."""

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from schemathesis.checks import not_a_server_error

from auricle.serving.schema import ChatRequest
from serving.servers import KEY, body, running, wav
from tiny_llama import TinyLlama

OPERATIONS = {
    ("POST", "/v1/chat/completions"): 60,
    ("POST", "/v1/audio/transcriptions"): 30,
    ("POST", "/v1/recordings"): 30,
    ("POST", "/v1/similarity"): 40,
    ("GET", "/v1/recordings/{recording}/audio"): 20,
    ("GET", "/v1/models"): 5,
    ("GET", "/v1/pruners"): 5,
    ("GET", "/health"): 5,
}


@pytest.fixture(scope="module")
def api(tmp_path_factory):
    with running(TinyLlama(), tmp_path_factory.mktemp("fuzz") / "store", api_key=KEY) as server:
        yield schemathesis.openapi.from_dict(httpx.get(f"{server.url}/openapi.json").json()), server


def test_the_specification_names_every_endpoint(api):
    found = {(each.ok().method.upper(), each.ok().path) for each in api[0].get_all_operations()}
    assert found == OPERATIONS.keys()
    assert sum(OPERATIONS.values()) <= 200


@pytest.mark.parametrize("operation", OPERATIONS, ids=" ".join)
def test_nothing_is_a_server_error(api, operation):
    schema, server = api
    method, path = operation
    answers = []

    @settings(
        max_examples=OPERATIONS[operation],
        deadline=None,
        database=None,
        derandomize=True,
        suppress_health_check=list(HealthCheck),
    )
    @given(case=schema[path][method].as_strategy())
    def ask(case):
        response = case.call(base_url=server.url, headers={"Authorization": f"Bearer {KEY}"})
        case.validate_response(response, checks=[not_a_server_error])
        if response.status_code >= 400:
            assert response.json()["error"].keys() == {"message", "type", "param", "code"}
        answers.append(response.status_code)

    ask()
    assert answers


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
FIELDS = [name for name in ChatRequest.model_fields if name not in ("max_tokens", "max_completion_tokens")]


@settings(max_examples=60, deadline=None, database=None, derandomize=True, suppress_health_check=list(HealthCheck))
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
