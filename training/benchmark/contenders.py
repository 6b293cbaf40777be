"""What `training.benchmark` compares, by name.

The peers have the sizes of the published models and random weights: speed and memory don't depend on the values. They
are built once, saved, and loaded from there, as published weights would be.
"""

from pathlib import Path
from typing import Any

import torch

from training.benchmark.models import Blip, Concatenation, Lxmert, Peer, Valm, Vilt
from training.benchmark.writers import Moondream, Qwen2Vl, SmolVlm

PEERS = {
    "vilt": Vilt,
    "blip": Blip,
    "lxmert": Lxmert,
    "concatenation": Concatenation,
    "smolvlm": SmolVlm,
    "moondream": Moondream,
    "qwen2_vl": Qwen2Vl,
}


def build_peer(name: str, folder: Path) -> Path:
    """Save a peer with random weights under ``folder``; returns where."""
    from safetensors.torch import save_file

    torch.manual_seed(0)
    model: Any = PEERS[name].build()
    target = folder / name
    if hasattr(model, "save_pretrained"):
        model.save_pretrained(target)
    else:
        target.mkdir(parents=True)
        save_file({key: value.contiguous() for key, value in model.state_dict().items()}, target / "model.safetensors")
    return target


def class_of(name: str) -> type[Valm] | type[Peer]:
    """What ``valm`` or a peer is."""
    return Valm if name == "valm" else PEERS[name]


def load_contender(name: str, folder: Path, device: torch.device) -> Valm | Peer:
    """``valm`` or a peer, from its folder."""
    return class_of(name)(folder, device)
