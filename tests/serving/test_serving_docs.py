"""What the docs and the files beside the package say of the server is so."""

import re

import httpx
import yaml

import auricle
from auricle.cli import serve
from serving.servers import ROOT, serving
from tiny_llama import TinyLlama


def test_the_docs_make_an_app(tmp_path, monkeypatch):
    (code,) = re.findall(r"```python\n([^`]*create_app[^`]*)```", (ROOT / "docs" / "serving.md").read_text("utf-8"))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(auricle, "load", lambda _: TinyLlama())
    names = {}
    exec(compile(code, "serving.md", "exec"), names)
    with serving(names["app"]) as url:
        assert httpx.get(f"{url}/health").json()["model"] == "tiny-llama"
    assert (tmp_path / "recordings").is_dir()


def test_containers_are_given_the_time_that_running_answers_are():
    services = yaml.safe_load((ROOT / "compose.yaml").read_text("utf-8"))["services"]
    assert int(services["auricle"]["stop_grace_period"].removesuffix("s")) > serve.GRACE
