import itertools
import json
import socket
import sys
import threading

import pytest
import torch
import transformers
from chat_server import Raw, serve

from auricle.errors import (
    ContextLengthError,
    EndpointError,
    MissingDependencyError,
    ModelError,
    OptionError,
)
from auricle.spiral.chat import EndpointChat, LocalChat, Message
from tiny_llama import byte_tokenizer

ASKED = [Message("user", "Who?"), Message("assistant", "You."), Message("user", "Truly?")]


@pytest.fixture(autouse=True)
def _no_settings(monkeypatch):
    """No key, no endpoint and no proxy of whoever runs the tests."""
    for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL", "HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)


def test_a_request_says_everything_and_the_reply_comes_back():
    with serve(lambda _: "  Yes.\n") as server:
        chat = EndpointChat("small", server.url, temperature=0.5, seed=7)
        assert chat.reply(ASKED, seed=5) == "Yes."
        server.wait_until_left()
    (body,) = server.bodies
    assert body == {
        "model": "small",
        "messages": [
            {"role": "user", "content": "Who?"},
            {"role": "assistant", "content": "You."},
            {"role": "user", "content": "Truly?"},
        ],
        "temperature": 0.5,
        "seed": 12,
    }


def test_what_an_endpoint_does_not_take_is_left_out():
    with serve(lambda _: "Yes.") as server:
        EndpointChat("small", server.url, temperature=None, seed=None).reply(ASKED, seed=5)
    assert server.bodies[0].keys() == {"model", "messages"}


def test_seeds_stay_within_31_bits():
    with serve(lambda _: "Yes.") as server:
        EndpointChat("small", server.url, seed=2**31 - 1).reply(ASKED, seed=3)
    assert server.bodies[0]["seed"] == 2


def test_the_key_comes_from_the_named_variable(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "for another")
    monkeypatch.setenv("MY_KEY", "mine\n")
    with serve(lambda _: "Yes.") as server:
        EndpointChat("small", server.url, api_key_variable="MY_KEY").reply(ASKED)
        EndpointChat("small", server.url, api_key_variable="UNSET_KEY").reply(ASKED)
    assert [headers["authorization"] for headers in server.headers] == ["Bearer mine", "Bearer none"]


def test_without_a_url_the_clients_own_default_is_asked(monkeypatch):
    with serve(lambda _: "Yes.") as server:
        monkeypatch.setenv("OPENAI_BASE_URL", server.url)
        assert EndpointChat("small").reply(ASKED) == "Yes."


@pytest.mark.parametrize("status", [408, 429, 500, 503])
def test_what_may_pass_is_asked_again(status):
    answers = iter([Raw(status), Raw(status), "Yes."])
    with serve(lambda _: next(answers)) as server:
        assert EndpointChat("small", server.url, max_retries=2).reply(ASKED) == "Yes."
    assert len(server.bodies) == 3


@pytest.mark.parametrize(
    ("status", "asked", "advice"),
    [
        (400, 1, "leave out the temperature or the seed"),
        (401, 1, "set the environment variable MY_KEY"),
        (403, 1, "use a key, in the environment variable MY_KEY"),
        (404, 1, "check the base URL, which mostly ends in /v1, and the model's name"),
        (418, 1, "check the base URL"),
        (422, 1, "leave out the temperature or the seed"),
        (429, 3, "ask fewer at a time"),
        (500, 3, "try again later"),
        (503, 3, "try again later"),
    ],
)
def test_a_refusal_says_the_url_the_status_and_what_to_do(status, asked, advice):
    with serve(lambda _: Raw(status)) as server:
        chat = EndpointChat("small", server.url, api_key_variable="MY_KEY", max_retries=2)
        with pytest.raises(EndpointError) as caught:
            chat.reply(ASKED)
        server.wait_until_left()
    assert len(server.bodies) == asked
    for part in (server.url, f"refuses 'small' with status {status}", "as the test wants it", advice):
        assert part in str(caught.value)


def test_a_wrong_path_is_explained():
    with serve(lambda _: "Yes.") as server, pytest.raises(EndpointError, match=r"status 404 .*ends in /v1"):
        EndpointChat("small", server.url.removesuffix("/v1")).reply(ASKED)


def test_a_reply_that_takes_too_long_is_given_up():
    over = threading.Event()
    with serve(lambda _: str(over.wait(30))) as server:
        with pytest.raises(EndpointError, match=rf"{server.url}/ gave no reply within 0.5 s, asked 2 time"):
            EndpointChat("small", server.url, timeout=0.5, max_retries=1).reply(ASKED)
        over.set()
        server.wait_until_left()
    assert len(server.bodies) == 2


def test_an_endpoint_that_is_not_there_is_named():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        url = f"http://127.0.0.1:{taken.getsockname()[1]}/v1"
    with pytest.raises(EndpointError, match=rf"{url}/ cannot be reached .*check that it runs"):
        EndpointChat("small", url, max_retries=0).reply(ASKED)


@pytest.mark.parametrize("message", [{"role": "assistant", "content": None}, " \n"])
def test_an_empty_reply_is_an_error(message):
    with (
        serve(lambda _: message) as server,
        pytest.raises(EndpointError, match=rf"{server.url}/ .*empty reply .*'stop'.*another seed"),
    ):
        EndpointChat("small", server.url).reply(ASKED)


def test_a_models_refusal_is_a_reply():
    with serve(lambda _: {"role": "assistant", "content": None, "refusal": "I will not."}) as server:
        assert EndpointChat("small", server.url).reply(ASKED) == "I will not."


@pytest.mark.parametrize(
    "raw",
    [
        Raw(200, "<html>Welcome</html>", "text/html"),
        Raw(200, '{"choices": ', "application/json"),
        Raw(200, '{"object": "list"}'),
        Raw(200, '{"choices": []}'),
        Raw(200, '{"choices": [{}]}'),
        Raw(200, '{"choices": [{"message": "Yes."}]}'),
        Raw(200, '{"choices": "Yes."}'),
        Raw(200, '{"choices": [{"message": {"content": ["Yes."]}}]}'),
        Raw(200, "null"),
    ],
)
def test_a_page_that_is_no_chat_is_an_error(raw):
    with (
        serve(lambda _: raw) as server,
        pytest.raises(EndpointError, match="200, but not as a chat; check the base"),
    ):
        EndpointChat("small", server.url).reply(ASKED)


def test_openai_has_to_be_installed(monkeypatch):
    monkeypatch.setitem(sys.modules, "openai", None)
    with pytest.raises(MissingDependencyError, match=r"install auricle\[spiral\]"):
        EndpointChat("small", "http://127.0.0.1:1/v1").reply(ASKED)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"model": " "}, "model's name is empty"),
        ({"base_url": "localhost:8000"}, "base_url is 'localhost:8000'; expected"),
        ({"temperature": -0.1}, "temperature is -0.1"),
        ({"temperature": float("nan")}, "temperature is nan"),
        ({"timeout": 0.0}, "timeout is 0.0"),
        ({"timeout": float("inf")}, "timeout is inf"),
        ({"max_retries": -1}, "max_retries is -1"),
    ],
)
def test_options_of_an_endpoint_are_checked(options, message):
    with pytest.raises(OptionError, match=message):
        EndpointChat(**{"model": "small"} | options)


# -- a model on this machine --------------------------------------------------------------------------------------

TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A random Llama with a chat template, which almost never ends a reply."""
    tokenizer = byte_tokenizer()
    tokenizer.chat_template = TEMPLATE
    config = transformers.LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=256,
        initializer_range=0.3,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = transformers.LlamaForCausalLM(config)
    path = tmp_path_factory.mktemp("model")
    model.save_pretrained(path)
    tokenizer.save_pretrained(path)
    return path


def test_the_likeliest_tokens_after_the_rendered_chat_are_the_reply(folder):
    model = transformers.LlamaForCausalLM.from_pretrained(folder).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    turns = ("user\nWho?", "assistant\nYou.", "user\nTruly?")
    text = "".join(f"<|im_start|>{turn}<|im_end|>\n" for turn in turns) + "<|im_start|>assistant\n"
    ids = tokenizer(text, add_special_tokens=False, return_tensors="pt")["input_ids"]
    start = ids.shape[1]
    with torch.inference_mode():
        for _ in range(20):
            ids = torch.cat([ids, model(ids).logits[:, -1:].argmax(-1)], dim=1)
    expected = tokenizer.decode(ids[0, start:], skip_special_tokens=True).strip()
    chat = LocalChat(folder, max_new_tokens=20, temperature=0.0)
    assert chat.reply(ASKED, seed=1) == chat.reply(ASKED, seed=2) == expected


def test_equal_seeds_give_equal_replies_whatever_was_drawn_before(folder):
    chat = LocalChat(folder, max_new_tokens=20)
    state = torch.random.get_rng_state()
    first = chat.reply(ASKED, seed=1)
    assert torch.equal(torch.random.get_rng_state(), state)
    torch.rand(3)
    assert chat.reply(ASKED, seed=1) == first
    assert chat.reply(ASKED, seed=2) != first
    assert LocalChat(folder, max_new_tokens=20, seed=1).reply(ASKED) == first


def test_a_low_temperature_is_almost_greedy(folder):
    greedy = LocalChat(folder, max_new_tokens=20, temperature=0.0).reply(ASKED)
    assert LocalChat(folder, max_new_tokens=20, temperature=1e-4).reply(ASKED) == greedy
    assert LocalChat(folder, max_new_tokens=20, temperature=2.0).reply(ASKED) != greedy


def test_a_model_is_loaded_once_and_only_when_it_is_asked(folder, monkeypatch):
    loads = []
    load = transformers.AutoModelForCausalLM.from_pretrained
    monkeypatch.setattr(
        transformers.AutoModelForCausalLM, "from_pretrained", lambda *a, **k: loads.append(1) or load(*a, **k)
    )
    chat = LocalChat(folder, max_new_tokens=5, dtype="float32")
    assert not loads
    replies: list[str] = []
    threads = [threading.Thread(target=lambda: replies.append(chat.reply(ASKED, seed=3))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(replies) == 4
    assert len(set(replies)) == 1
    assert len(loads) == 1


def test_a_chat_that_is_too_long_is_refused(folder):
    chat = LocalChat(folder, max_new_tokens=100)
    with pytest.raises(ContextLengthError, match=r"may be 100, but the context of .* holds 256; lower"):
        chat.reply([Message("user", "x" * 150)])


def test_an_empty_local_reply_is_an_error(folder, monkeypatch):
    chat = LocalChat(folder, max_new_tokens=1, temperature=0.0)
    monkeypatch.setattr(
        transformers.LlamaForCausalLM,
        "generate",
        lambda self, input_ids, **_: torch.cat([input_ids, torch.full((1, 1), self.config.eos_token_id)], 1),
    )
    with pytest.raises(EndpointError, match="gave an empty reply"):
        chat.reply(ASKED)


def test_a_model_without_a_chat_template_is_refused(folder, tmp_path):
    transformers.LlamaForCausalLM.from_pretrained(folder).save_pretrained(tmp_path)
    byte_tokenizer().save_pretrained(tmp_path)
    with pytest.raises(ModelError, match="has no chat template"):
        LocalChat(tmp_path).reply(ASKED)


def test_what_cannot_be_loaded_is_named(folder, tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "nothing known"}))
    for chat in (LocalChat(tmp_path), LocalChat(folder, device="cellar"), LocalChat(folder, dtype="float7")):
        with pytest.raises(
            ModelError, match=rf"'{chat.name}' cannot be loaded on '{chat.device}' as '{chat.dtype}'"
        ):
            chat.reply(ASKED)


@pytest.mark.parametrize(
    ("options", "message"),
    [({"temperature": 2.1}, "temperature is 2.1"), ({"max_new_tokens": 0}, "max_new_tokens is 0")],
)
def test_options_of_a_local_model_are_checked(options, message):
    with pytest.raises(OptionError, match=message):
        LocalChat("anything", **options)


def test_chats_are_values():
    for one, same, other in itertools.permutations([EndpointChat("a"), EndpointChat("a"), EndpointChat("b")], 3):
        assert (one == same) == (one.model == same.model)
        assert (one == other) == (one.model == other.model)
    assert LocalChat("a") == LocalChat("a") != LocalChat("b")
