"""Requests that nobody would think of: none of them is answered by an error of the server's."""

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, settings
from schemathesis.checks import not_a_server_error

from serving.servers import KEY, running
from tiny_llama import TinyLlama


@pytest.fixture(scope="module")
def api(tmp_path_factory):
    with running(TinyLlama(), tmp_path_factory.mktemp("fuzz") / "store", api_key=KEY) as server:
        yield schemathesis.openapi.from_url(f"{server.url}/openapi.json")


schema = schemathesis.pytest.from_fixture("api")


@schema.parametrize()
@settings(max_examples=25, deadline=None, database=None, derandomize=True, suppress_health_check=list(HealthCheck))
def test_nothing_is_a_server_error(case):
    response = case.call(headers={"Authorization": f"Bearer {KEY}"})
    case.validate_response(response, checks=[not_a_server_error])
    if response.status_code >= 400:
        assert response.json()["error"].keys() == {"message", "type", "param", "code"}


def test_the_specification_names_every_endpoint(api):
    assert {
        "/v1/chat/completions",
        "/v1/audio/transcriptions",
        "/v1/models",
        "/v1/recordings",
        "/v1/recordings/{recording}/audio",
        "/v1/similarity",
        "/v1/pruners",
        "/health",
    } == set(httpx.get(api.location).json()["paths"])
