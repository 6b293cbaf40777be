"""Tiny models with random weights, saved in their real formats, and toy data. Nothing here needs a network."""

from __future__ import annotations

import copy
import gc
import importlib
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

# Before torch is imported, and for every process that a test starts: tests run in several workers beside each other,
# small tensors are faster on one thread, and results don't depend on the machine's cores. What is printed into a file
# that a test waits for must get there at once.
os.environ |= {"OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false", "GRADIO_ANALYTICS_ENABLED": "False"}
os.environ["PYTHONUNBUFFERED"] = "1"

import pytest
from forks import TRUE_PROCESSES, Forks, TrueProcesses

# torch and what needs it is imported where it is used: the process that hands tests out to workers reads this file too.
if TYPE_CHECKING:
    from valm_core.config import ValmConfig
    from valm_core.model.model import ValmModel
    from valm_core.predictor import VqaPredictor

WORDS = [
    "what",
    "color",
    "is",
    "the",
    "square",
    "there",
    "any",
    "red",
    "green",
    "blue",
    "yellow",
    "many",
    "##s",
    "?",
    "'",
]

FORKS = pytest.StashKey[Forks]()
# What libraries import only once a model is built or a figure drawn: seconds for each program that has to do it itself.
IMPORTED_LATE = ("transformers.models.bert.modeling_bert", "transformers.models.vit.modeling_vit", "matplotlib.figure")


@pytest.hookimpl(trylast=True)
def pytest_configure(config):
    """In CI a failure is told at once: whoever stops a run that takes too long would never learn of it."""
    terminal = config.pluginmanager.get_plugin("terminalreporter")  # none in the workers
    if terminal is not None and os.environ.get("CI"):
        config.pluginmanager.register(ToldAtOnce(terminal), "told at once")


class ToldAtOnce:
    """Writes what failed, and what it printed, as soon as it failed."""

    def __init__(self, terminal):
        self.terminal = terminal

    def pytest_runtest_logreport(self, report):
        """Called by pytest after each part of a test."""
        if report.failed:
            said = [f"{report.nodeid} ({report.when})", report.longreprtext, report.capstdout, report.capstderr]
            self.terminal.write_line("\n" + "\n".join(filter(None, said)))


def pytest_collection_finish(session):
    """Forks are made while all is imported and nothing has been started yet."""
    if any("forks" in getattr(item, "fixturenames", ()) for item in session.items) and not TRUE_PROCESSES:
        for name in IMPORTED_LATE:
            importlib.import_module(name)
        session.config.stash[FORKS] = Forks()
    leave_what_stays()


def pytest_sessionfinish():
    """At the end everything is freed, as some libraries complain otherwise."""
    gc.unfreeze()


def leave_what_stays() -> None:
    """Let the garbage collector pass over all that is there: modules that stay, which it would walk through each time.

    And let it come less often. Both together were a quarter of these tests' time.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000, 20, 20)


@pytest.fixture(scope="module", autouse=True)
def leave_what_was_imported():
    """What a module's tests imported stays, too."""
    yield
    leave_what_stays()


@pytest.fixture(scope="session")
def forks(request):
    """Starts programs of this project in processes of their own, see ``tests/helpers/forks.py``."""
    forks = TrueProcesses() if TRUE_PROCESSES else request.config.stash[FORKS]
    yield forks
    forks.close()


@pytest.fixture(autouse=True)
def one_thread():
    """As OMP_NUM_THREADS says, also after a test that changed it."""
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(1)


@pytest.fixture(autouse=True)
def any_precision():
    """accelerate allows one precision a process; which one "auto" is depends on the machine. Forgotten afterwards."""
    yield
    if "accelerate.state" in sys.modules:
        sys.modules["accelerate.state"].AcceleratorState._reset_state(reset_partial_state=True)


@pytest.fixture(scope="session", autouse=True)
def no_waiting_for_the_disk():
    """Files of tests need not outlive the machine: the system writes them when it likes, whatever is flushed."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda descriptor: None)
        yield


@pytest.fixture
def drawn_curves():
    """Asked for by tests of a run's ``curves.png``."""


@pytest.fixture(autouse=True)
def quick_curves(request):
    """Runs write an empty ``curves.png``: drawing it takes as long as a toy run."""
    module = sys.modules.get("training.run_report")
    if module is None or "drawn_curves" in request.fixturenames:
        yield
        return
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "write_curves", lambda output: (output / "curves.png").write_bytes(b""))
        yield


@pytest.fixture(scope="session")
def wordnet():
    """WordNet; what needs it is skipped where it isn't installed, but not where all tests must run."""
    from training.metrics.wups import WordNetMissing, read_wordnet

    try:
        return read_wordnet()
    except WordNetMissing as error:
        if os.environ.get("CI"):
            raise
        pytest.skip(str(error))


@pytest.fixture(scope="session")
def tiny_text_folder(tmp_path_factory) -> Path:
    """A BERT of two layers and width 16, with its tokenizer, as `transformers:FOLDER` reads it."""
    import torch
    from transformers import BertConfig, BertModel, BertTokenizerFast

    folder = tmp_path_factory.mktemp("tiny_bert")
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS, *"abcdefghijklmnopqrstuvwxyz"]
    (folder / "vocab.txt").write_text("\n".join(vocabulary), encoding="utf-8")
    BertTokenizerFast(vocab=str(folder / "vocab.txt")).save_pretrained(folder)
    torch.manual_seed(1)
    config = BertConfig(
        vocab_size=len(vocabulary),
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=64,
    )
    BertModel(config).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def tiny_image_folder(tmp_path_factory) -> Path:
    """A ViT of two layers and width 16 with 4 x 4 patches of 8 pixels, as `transformers:FOLDER` reads it."""
    import torch
    from transformers import ViTConfig, ViTModel

    folder = tmp_path_factory.mktemp("tiny_vit")
    torch.manual_seed(2)
    config = ViTConfig(
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        image_size=32,
        patch_size=8,
    )
    ViTModel(config).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def tiny_config(tiny_text_folder, tiny_image_folder) -> ValmConfig:
    """A config of the tiny encoders and a small bi-attention fusion."""
    from valm_core.config import ValmConfig

    return ValmConfig(
        text_encoder=f"transformers:{tiny_text_folder}",
        image_encoder=f"transformers:{tiny_image_folder}",
        image_size=32,
        width=16,
        layers=2,
        heads=2,
        dropout=0.0,
        max_question_tokens=16,
    )


@pytest.fixture(scope="session")
def tiny_finder(tiny_config):
    """A tiny model that finds photos, with random weights."""
    import dataclasses

    import torch

    from valm_core.model.build import build_task_model
    from valm_core.retrieval.finder import PhotoFinder

    torch.manual_seed(3)
    return PhotoFinder(build_task_model(dataclasses.replace(tiny_config, task="retrieval")), torch.device("cpu"))


@pytest.fixture(scope="session")
def tiny_caption_model(tiny_config):
    """A tiny model with random weights that describes photos in ten words, in evaluation mode; leave it as it is."""
    import dataclasses

    import torch

    from valm_core.model.build import build_caption_model

    random_state = torch.get_rng_state()
    torch.manual_seed(5)
    words = ["[CLS]", "[SEP]", "[UNK]", "red", "square", "what", "is", "this", "the", "blue"]
    model = build_caption_model(
        dataclasses.replace(tiny_config, task="caption", max_question_tokens=8, vocabulary=len(words))
    )
    torch.set_rng_state(random_state)
    model.vocabulary.copy_(torch.tensor(model.tokenizer.tokenizer.convert_tokens_to_ids(words)))
    return model.eval()


@pytest.fixture
def tiny_captioner(tiny_caption_model):
    """A captioner around that model, on the CPU."""
    import torch

    from valm_core.captions.captioner import Captioner

    return Captioner(tiny_caption_model, torch.device("cpu"))


@pytest.fixture(scope="session")
def built_tiny_model(tiny_config):
    """The tiny model, to be copied and left as it is, and the state of torch's random numbers after it was built."""
    import torch
    from toy_data import ANSWERS

    from valm_core.model.build import build_model

    torch.manual_seed(3)
    return build_model(tiny_config, ANSWERS).eval(), torch.get_rng_state()


@pytest.fixture
def tiny_model(built_tiny_model) -> ValmModel:
    """A fresh tiny model with random weights, in evaluation mode."""
    import torch

    model, random_state = built_tiny_model
    torch.set_rng_state(random_state)
    return copy.deepcopy(model)


@pytest.fixture
def tiny_predictor(tiny_model) -> VqaPredictor:
    """A predictor around the tiny model, on the CPU."""
    import torch

    from valm_core.predictor import VqaPredictor

    return VqaPredictor(tiny_model, torch.device("cpu"))


@pytest.fixture
def colored_squares(tmp_path) -> Path:
    """``write_colored_squares`` under tmp_path."""
    from toy_data import write_colored_squares

    return write_colored_squares(tmp_path)


@pytest.fixture
def config_file(tiny_config, colored_squares, tmp_path) -> Path:
    """A config of the tiny model and the toy set; output and cache lie under tmp_path."""
    from toy_data import write_config

    return write_config(tmp_path, tiny_config, colored_squares)


@pytest.fixture
def encoded(tiny_predictor):
    """A photo of noise, encoded, beside an average token that differs from every cell of it."""
    import numpy as np
    import torch
    from PIL import Image

    tiny_predictor.model.mean_image_token.copy_(torch.randn(16, generator=torch.Generator().manual_seed(5)))
    picture = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    return tiny_predictor.encode(Image.fromarray(picture))


@pytest.fixture
def hub(monkeypatch, tmp_path):
    """A hub on this machine that takes the place of huggingface.co, with an empty cache and a token at hand."""
    from fake_hub import serving_hub
    from huggingface_hub import constants

    with serving_hub() as hub:
        monkeypatch.setattr(constants, "ENDPOINT", hub.url)
        template = constants.HUGGINGFACE_CO_URL_TEMPLATE.replace("https://huggingface.co", hub.url)
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub_cache"))
        monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "no_token"))
        monkeypatch.setenv("HF_TOKEN", hub.token)
        monkeypatch.chdir(tmp_path)
        yield hub


@pytest.fixture(scope="session")
def tiny_feeling(tiny_config, tmp_path_factory):
    """The folder of a tiny checkpoint that feels, with random weights."""
    import dataclasses

    import torch

    from valm_core.checkpoints.storage import save_checkpoint
    from valm_core.model.build import build_task_model

    torch.manual_seed(0)
    model = build_task_model(dataclasses.replace(tiny_config, task="feel"), ["negative", "positive"]).eval()
    folder = tmp_path_factory.mktemp("more") / "feel"
    save_checkpoint(model, folder)
    return folder
