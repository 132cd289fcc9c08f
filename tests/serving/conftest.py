import pytest

from serving.servers import mini, running


@pytest.fixture(scope="module")
def lm():
    return mini()


@pytest.fixture
def server(lm, tmp_path):
    with running(lm, tmp_path / "store") as started:
        yield started


@pytest.fixture
def encodes(lm, monkeypatch):
    """What was encoded: the samples of every call."""
    calls, encode = [], lm.encode

    def counted(waveform, *rest):
        calls.append(waveform)
        return encode(waveform, *rest)

    monkeypatch.setattr(lm, "encode", counted)
    return calls


@pytest.fixture(scope="module")
def shared(lm, tmp_path_factory):
    """A server for tests that leave nothing behind that another would find."""
    with running(lm, tmp_path_factory.mktemp("shared") / "store") as started:
        yield started
