import numpy as np
import pytest

from auricle.errors import OptionError
from auricle.evaluation.log import Log, Run
from auricle.evaluation.pictures import svg
from auricle.evaluation.report import result
from auricle.pruning.random_pieces import RandomPieces
from auricle.pruning.similarity import relevance
from auricle.pruning.speechprune import SpeechPrune
from auricle.reproduce.figures import figure2, figure3, figure3_methods, project
from auricle.reproduce.tables import table1, table1_methods
from evaluation.records import record
from fakes import FakeSpeechLM, random_tokens

PRUNERS = {"SpeechPrune": SpeechPrune(0.6), "random": RandomPieces(0.6)}


def test_figure2_shows_every_token_once():
    lm, tokens = FakeSpeechLM(), random_tokens(400)
    query = lm.query("Where is it?")
    found = project(lm, tokens, query, PRUNERS, seed=0)
    assert found.speech.shape == (400, 2)
    assert found.text.shape == (len(query.ids), 2)
    similar = relevance(tokens.embeds, query.embeds).numpy()
    for name, pruner in PRUNERS.items():
        keep = pruner.keep(tokens, query, lm).numpy()
        assert np.flatnonzero(found.kept[name]).tolist() == keep.tolist()
        assert found.cosine[name][0] == pytest.approx(similar[keep].mean())
    np.testing.assert_array_equal(found.speech, project(lm, tokens, query, PRUNERS, seed=0).speech)
    assert svg(figure2(found)).count("<svg") == 1


def test_neighbours_stay_neighbours():
    lm, tokens = FakeSpeechLM(), random_tokens(200)
    tokens.embeds[:100] += 6.0  # a cluster of its own
    flat = project(lm, tokens, lm.query("Where?"), PRUNERS, seed=0).speech
    centers = flat[:100].mean(0), flat[100:].mean(0)
    inside = np.linalg.norm(flat[:100] - centers[0], axis=1).mean()
    assert np.linalg.norm(centers[0] - centers[1]) > inside


def test_too_few_tokens_to_project():
    lm = FakeSpeechLM()
    with pytest.raises(OptionError, match="needs more than 30"):
        project(lm, random_tokens(5), lm.query("Who?"), PRUNERS, seed=0)


def scored(folder, right, methods=None):
    with Log(folder, Run("fake", "spiral", "", "loglikelihood")) as log:
        for i in range(12):
            log.write(
                *(
                    record(f"s{i}", each.name, right(i, each.name), pruning_rate=each.pruning_rate)
                    for each in methods or figure3_methods()
                )
            )
    return result(folder)


def test_table1_and_figure3_share_a_log(tmp_path):
    """Both ask some methods alike; each shows its own."""

    def right(i, name):
        return i % 2 == 0 if name == "first30" else i % 3 == 0

    all_methods = tuple({each.name: each for each in (*table1_methods(), *figure3_methods())}.values())
    both = scored(tmp_path / "both", right, all_methods)
    assert figure3(both)[1].rows == figure3(scored(tmp_path / "own", right))[1].rows
    assert table1(both, ()).rows == table1(scored(tmp_path / "table", right, table1_methods()), ()).rows


def test_figure3_compares_the_phases_on_the_hard_part(tmp_path):
    figure, table = figure3(scored(tmp_path, lambda i, name: i % 2 == 0 if name == "first30" else i % 3 == 0))
    rows = {row[0]: row for row in table.rows}
    assert set(rows) == {"first30", "full"} | {
        f"{name} {rate:g}" for name in ("phase 1", "phase 2", "speechprune") for rate in (0.2, 0.4, 0.6, 0.8)
    }
    assert table.header[1] == "accuracy, 6 hard samples"
    assert rows["phase 1 0.4"][1].startswith("0.333")
    assert [rows[f"{name} 0.2"][4] for name in ("phase 1", "phase 2", "speechprune")] == ["0.481", "0.725", "0.816"]
    assert svg(figure).count("<svg") == 1
    assert {each.name for each in table1_methods()} >= {f"speechprune {rate:g}" for rate in (0.2, 0.4, 0.6, 0.8)}
    phases = {each.name.rsplit(" ", 1)[0]: each.pruner.phase for each in figure3_methods()[2:]}
    assert phases == {"phase 1": "similarity", "phase 2": "attention", "speechprune": "both"}


def test_without_a_hard_part_there_is_no_figure3(tmp_path):
    with pytest.raises(OptionError, match="no hard part"):
        figure3(scored(tmp_path, lambda i, name: True))
