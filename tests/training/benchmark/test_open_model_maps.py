"""What maps of an open model cost: the figures are those of the maps that are kept."""

import json
import sys

import pytest

from training.benchmark import open_model_maps
from training.benchmark.open_model_maps import ANSWER_TOKENS, KEPT, TEXT_TOKENS, main


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="memory is measured on Linux only")
def test_the_kept_rows_are_as_large_as_they_must_be(tmp_path, monkeypatch, capsys):
    small = {"hidden_size": 36, "intermediate_size": 32, "head_dim": 4, "vocab_size": 50}
    monkeypatch.setattr(open_model_maps, "SMOLVLM_LANGUAGE", open_model_maps.SMOLVLM_LANGUAGE | small)
    report = tmp_path / "report.json"
    main(["--layers", "2", "--image-tokens", "500", "--report", str(report)])
    found = json.loads(report.read_text())
    length = 500 + TEXT_TOKENS + ANSWER_TOKENS
    row = 2 * 9 * length * 4 / 1e6  # MB, of one token in all layers and heads
    sizes = [way["maps_mb"] for way in found["ways"].values()]
    assert sizes == pytest.approx([0, KEPT * row, 2 * KEPT * row, length * row], abs=0.06)
    assert all(way["seconds"] >= 0 for way in found["ways"].values())
    full = found["ways"]["full attention maps, eager"]
    assert full["peak_mb"] >= full["maps_mb"]  # memory is seen where it is taken
    assert found["ways"]["no maps"]["peak_mb"] < full["peak_mb"]
    assert f"One pass over {length} tokens" in capsys.readouterr().out


def test_where_memory_can_not_be_measured_it_says_so(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(open_model_maps, "RESET", tmp_path / "nowhere")
    with pytest.raises(SystemExit) as stopped:
        main([])
    assert stopped.value.code == 2 and "on Linux only" in capsys.readouterr().err
