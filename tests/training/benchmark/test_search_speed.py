"""The benchmark of searching: what it finds against a search by hand, and its report."""

import json

import numpy as np
import pytest

from training.benchmark import search_speed


def test_the_graph_and_the_exact_search_find_what_is_nearest(tmp_path):
    vectors, queries = search_speed.made_vectors(2000, 1), search_speed.made_vectors(50, 2)
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    assert not np.allclose(vectors[:50], queries)
    exact, graph = search_speed.measure_exact(vectors, queries), search_speed.measure_usearch(vectors, queries)
    assert exact["recall"] == 1 and 0.8 < graph["recall"] <= 1
    assert exact["memory_mb"] == pytest.approx(2000 * 256 * 4 / 2**20)
    whole = search_speed.measure_index(vectors[:300], queries, tmp_path)
    assert whole["file_mb"] > 300 * 256 * 49 / 2**20 and 0 < whole["p50_ms"] <= whole["p95_ms"]


def test_the_report_has_a_row_for_each_size_and_store(tmp_path):
    search_speed.main(["--sizes", "60", "120", "--queries", "50", "--report", str(tmp_path / "speed.json")])
    figures = json.loads((tmp_path / "speed.json").read_text())
    assert {size: set(stores) for size, stores in figures["sizes"].items()} == {
        "60": {"exact", "usearch", "index"},
        "120": {"exact", "usearch", "index"},
    }
    text = (tmp_path / "speed.md").read_text()
    assert text.count("| 60 |") == 3 and text.count("| 120 |") == 3 and "--sizes 60 120" in text


def test_too_few_photos_are_refused(capsys, tmp_path):
    with pytest.raises(SystemExit) as stopped:
        search_speed.main(["--sizes", "10", "--report", str(tmp_path / "speed.json")])
    assert stopped.value.code == 2 and "at least 50" in capsys.readouterr().err
