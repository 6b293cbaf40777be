"""The short forms of the long tests: memory and files over many questions, and a few kills."""

import os
import random

import pytest
from load.kills import kill_checkpoint_writers, kill_correction_writers, kill_indexers
from load.long_life import live

from valm_core.checkpoints.storage import save_checkpoint


def test_memory_and_open_files_stay_as_they_are(tiny_predictor):
    life = live(tiny_predictor, questions=120, early=40)
    assert life.files_late <= life.files_early
    assert life.growth < 0.02, life


needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="Windows has no fork")


@needs_fork
def test_killed_writers_of_corrections_leave_a_whole_database(tmp_path):
    assert kill_correction_writers(tmp_path / "corrections.sqlite", 5, random.Random(1)) >= 5


@needs_fork
def test_killed_writers_leave_a_checkpoint_that_loads(tiny_model, tmp_path):
    save_checkpoint(tiny_model, tmp_path / "checkpoint")
    assert kill_checkpoint_writers(tmp_path / "checkpoint", 5, random.Random(2)) >= 5


@needs_fork
def test_killed_indexers_lose_no_photo_and_the_next_goes_on(tiny_finder, tmp_path):
    assert kill_indexers(tmp_path, tiny_finder, 3, random.Random(3), longest=0.2) == 120
