"""Requests that nobody would think of: none of them is answered by an error of the server's."""

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis.checks import not_a_server_error

from serving.servers import KEY, running
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
