"""Tiny models with random weights, saved in their real formats, and toy data. Nothing here needs a network."""

import os
from pathlib import Path

# Before torch is imported, and for every process that a test starts: tests run in several workers beside each other,
# small tensors are faster on one thread, and results don't depend on the machine's cores.
os.environ |= {"OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false", "GRADIO_ANALYTICS_ENABLED": "False"}

import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from toy_data import ANSWERS, write_rows
from transformers import BertConfig, BertModel, BertTokenizerFast, ViTConfig, ViTModel

from training.metrics.wups import WordNetMissing, read_wordnet
from valm_core.config import ValmConfig
from valm_core.model.build import build_model
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
COLORS = {"red": (220, 30, 30), "green": (30, 180, 30), "blue": (40, 60, 220), "yellow": (230, 220, 40)}


@pytest.fixture(autouse=True)
def one_thread():
    """As OMP_NUM_THREADS says, also after a test that changed it."""
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def wordnet():
    """WordNet; what needs it is skipped where it isn't installed, but not where all tests must run."""
    try:
        return read_wordnet()
    except WordNetMissing as error:
        if os.environ.get("CI"):
            raise
        pytest.skip(str(error))


@pytest.fixture(scope="session")
def tiny_text_folder(tmp_path_factory) -> Path:
    """A BERT of two layers and width 16, with its tokenizer, as `transformers:FOLDER` reads it."""
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


@pytest.fixture
def tiny_model(tiny_config) -> ValmModel:
    """A fresh tiny model with random weights, in evaluation mode."""
    torch.manual_seed(3)
    return build_model(tiny_config, ANSWERS).eval()


@pytest.fixture
def tiny_predictor(tiny_model) -> VqaPredictor:
    """A predictor around the tiny model, on the CPU."""
    return VqaPredictor(tiny_model, torch.device("cpu"))


@pytest.fixture
def colored_squares(tmp_path) -> Path:
    """A JSON lines file with one photo a color and two questions each: its color, and whether there is any red."""
    rows = []
    for name, color in COLORS.items():
        Image.new("RGB", (40, 30), color).save(tmp_path / f"{name}.png")
        choices = [name, *(other for other in COLORS if other != name)]
        is_red = "yes" if name == "red" else "no"
        rows += [
            {
                "image": f"{name}.png",
                "question": "what color is the square?",
                "answer": name,
                "choices": choices,
                "source": "colors",
            },
            {"image": f"{name}.png", "question": "is there any red?", "answer": is_red, "source": "red"},
        ]
    return write_rows(tmp_path / "rows.jsonl", rows)


@pytest.fixture
def config_file(tiny_config, colored_squares, tmp_path):
    """A config of the tiny model and the toy set; output and cache lie under tmp_path."""
    model = ["text_encoder", "image_encoder", "image_size", "width", "layers", "heads"]
    sections = {
        "run": {
            "data": str(colored_squares),
            "validation": str(colored_squares),
            "output": str(tmp_path / "run"),
            "cache": str(tmp_path / "cache"),
            "answers": 10,
        },
        "model": {name: getattr(tiny_config, name) for name in model} | {"dropout": 0.0},
        "training": {"epochs": 3, "batch_size": 8, "learning_rate": 0.01, "warmup_steps": 2, "precision": "no"},
    }
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump(sections), encoding="utf-8")
    return path


@pytest.fixture
def encoded(tiny_predictor):
    """A photo of noise, encoded, beside an average token that differs from every cell of it."""
    tiny_predictor.model.mean_image_token.copy_(torch.randn(16, generator=torch.Generator().manual_seed(5)))
    picture = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    return tiny_predictor.encode(Image.fromarray(picture))
