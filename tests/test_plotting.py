import xml.etree.ElementTree as ET

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.image import imread

from auricle import plotting
from auricle.audio import SAMPLE_RATE
from auricle.cost import Memory
from auricle.errors import OptionError
from auricle.plotting import check_plot_path, plot_kept, plot_profile, save
from auricle.profiling import Prefill, Row

SPANS = [(2.0, 4.0), (7.5, 8.0)]


def picture_of(seconds: float = 10, spans=SPANS, **options):
    count = max(1, int(seconds * 12.5))
    starts = np.arange(count) / 12.5
    rng = np.random.default_rng(0)
    return {
        "waveform": rng.uniform(-0.5, 0.5, int(seconds * SAMPLE_RATE)).astype(np.float32),
        "kept_spans": spans,
        "times": np.stack([starts, starts + 0.08], axis=1),
        "relevance": rng.uniform(0, 0.2, count).astype(np.float32),
        "title": "Where do they meet?",
    } | options


def is_blue(pixels: np.ndarray) -> np.ndarray:
    red, _, blue = np.moveaxis(pixels[..., :3], -1, 0)
    return blue - red > 0.4


def row(method: str, tokens: int, *, rate: float | None = None, measured: bool = True) -> Row:
    prefill = Prefill(tokens / 1000, tokens / 500, 10**9 + tokens) if measured else None
    return Row(method, rate, tokens - 20, tokens, tokens / 1000, Memory(10**9, tokens, tokens), prefill, 0.01, 0.02)


@pytest.mark.parametrize("ending", ["png", "svg", "pdf", "PNG"])
def test_a_picture_is_written_in_the_format_of_its_ending(tmp_path, ending):
    path = tmp_path / f"kept.{ending}"
    plot_kept(**picture_of(), path=path)
    start = path.read_bytes()[:5]
    assert start == {"png": b"\x89PNG\r", "svg": b"<?xml", "pdf": b"%PDF-"}[ending.lower()]
    assert list(tmp_path.iterdir()) == [path]


def test_what_was_kept_is_blue_where_it_is(tmp_path):
    path = tmp_path / "kept.png"
    plot_kept(**picture_of(), path=path)
    blue = is_blue(imread(path)).any(axis=0)
    width = len(blue)
    inside = np.linspace(0.075, 0.99, 1001)  # about where the axes stand, from 0 to 10 s

    def share(start: float, end: float) -> float:
        columns = (inside[int(start * 100) : int(end * 100)] * width).astype(int)
        return float(blue[columns].mean())

    assert share(2.3, 3.7) > 0.9
    assert share(0.0, 1.7) < 0.05
    assert share(4.5, 7.0) < 0.05
    assert share(7.65, 7.85) > 0.9


@pytest.mark.parametrize(
    "spans",
    [[], [(0.0, 10.0)], [(i / 12.5, i / 12.5 + 0.08) for i in range(0, 125, 2)]],
    ids=["none", "all", "many"],
)
def test_nothing_everything_and_many_pieces_can_be_drawn(tmp_path, spans):
    plot_kept(**picture_of(spans=spans), path=tmp_path / "kept.png")


@pytest.mark.parametrize("seconds", [0.1, 1.0, 59.99, 3600.0])
def test_recordings_of_any_length_can_be_drawn(tmp_path, seconds):
    plot_kept(**picture_of(seconds, [(0.0, seconds / 2)]), path=tmp_path / "kept.png")


def test_silence_and_equal_similarity_can_be_drawn(tmp_path):
    flat = {"waveform": np.zeros(SAMPLE_RATE * 10, np.float32), "relevance": np.zeros(125, np.float32)}
    plot_kept(**picture_of(**flat), path=tmp_path / "kept.png")


def test_a_question_is_drawn_as_it_is_written(tmp_path):
    path = tmp_path / "kept.svg"
    with mpl.rc_context({"svg.fonttype": "none"}):
        plot_kept(**picture_of(title="What costs $5\nor _6_ $\\frac{?"), path=path)
        words = "".join(ET.parse(path).getroot().itertext())
    assert "What costs $5 or _6_ $\\frac{?" in words
    with mpl.rc_context({"svg.fonttype": "none"}):
        plot_kept(**picture_of(title="word " * 100), path=path)
        words = "".join(ET.parse(path).getroot().itertext())
    assert "word word…" in words


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("kept.bmp", "expected one of .png"),
        ("kept", "expected one of .png"),
        ("no/folder/kept.png", "no folder"),
        ("folder.png", "cannot be written"),
    ],
)
def test_an_impossible_place_is_refused_before_anything_is_drawn(tmp_path, name, message):
    (tmp_path / "folder.png").mkdir()
    with pytest.raises(OptionError, match=message):
        check_plot_path(tmp_path / name)
    with pytest.raises(OptionError, match=message):
        plot_kept(**picture_of(), path=tmp_path / name)


def test_after_an_error_the_picture_before_is_still_there(tmp_path, monkeypatch):
    path = tmp_path / "kept.png"
    path.write_bytes(b"the picture before")

    def half(self, target, *args, **kwargs):
        target.write_bytes(b"half a pict")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Figure, "savefig", half)
    with pytest.raises(OSError, match="No space"):
        plot_kept(**picture_of(), path=path)
    assert path.read_bytes() == b"the picture before"
    assert list(tmp_path.iterdir()) == [path]


def test_a_picture_has_the_rights_of_any_new_file(tmp_path):
    (tmp_path / "other").touch()
    plot_kept(**picture_of(1), path=tmp_path / "kept.png")
    assert (tmp_path / "kept.png").stat().st_mode == (tmp_path / "other").stat().st_mode


def test_drawing_changes_no_global_state(tmp_path):
    before = dict(mpl.rcParams)
    plot_kept(**picture_of(1), path=tmp_path / "kept.png")
    assert dict(mpl.rcParams) == before
    assert "pyplot" not in vars(plotting)


def test_the_envelope_holds_the_extremes_of_a_long_recording():
    waveform = np.zeros(SAMPLE_RATE * 600, np.float32)
    waveform[1_234_567], waveform[7_654_321] = 0.9, -0.8
    edges, low, high = plotting._envelope(waveform)
    assert len(low) == len(high) == len(edges) - 1 == 2000
    assert (high.max(), low.min()) == (np.float32(0.9), np.float32(-0.8))
    assert edges[high.argmax()] <= 1_234_567 / SAMPLE_RATE < edges[high.argmax() + 1]


def test_the_share_of_a_column_that_was_kept():
    edges = np.array([0.0, 1.0, 2.0, 3.0, 4.0])
    covered = plotting._covered(edges, [(0.5, 1.0), (1.25, 1.5), (3.0, 4.0)])
    np.testing.assert_allclose(covered, [0.5, 0.25, 0.0, 1.0])
    assert not plotting._covered(edges, []).any()


def test_costs_are_drawn_with_and_without_measurements(tmp_path):
    rows = [
        row("full", 1000, measured=False),
        row("first30", 400),
        row("speechprune", 200, rate=0.6),
        row("speechprune", 100, rate=0.8),
    ]
    path = tmp_path / "costs.svg"
    with mpl.rc_context({"svg.fonttype": "none"}):
        plot_profile(rows, path, "auricle-mini")
        words = "".join(ET.parse(path).getroot().itertext())
    for word in ("first30", "speechprune", "0.6", "0.8", "formula", "prefill time (s)", "auricle-mini"):
        assert word in words
    plot_profile(rows[:1], tmp_path / "formula only.png", "auricle-mini")


def test_saving_needs_no_display(tmp_path, monkeypatch):
    monkeypatch.delenv("DISPLAY", raising=False)
    save(Figure(), tmp_path / "empty.png")
    assert (tmp_path / "empty.png").stat().st_size > 100
