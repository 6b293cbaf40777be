"""Train encoders and fusion together, from pixels, on a GPU: answers, concepts, captions and places at once.

Examples:
    python -m training.train_joint --config training/configs/joint.yaml --output runs/joint
    python -m training.train_joint --config joint.yaml --output runs/joint --device cuda steps=1480 question_steps=595

Every step takes photos, each with its questions, and minimises L = L_task + λ_v ℓ_v + λ_a ℓ_a: ℓ_v asks the cells for
the concepts of captions, tags and answers; ℓ_a brings captions and photos together word by word and cell by cell, and
draws the maps of person words into persons' boxes. Beside it a batch of questions without photos keeps the question
head honest. The weights' running mean is what is saved. The length is a time, so that a borrowed GPU is given back, or
a number of steps, so that a run can be repeated.
"""

import argparse
import copy
import dataclasses
import json
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import numpy as np
import torch
import yaml
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import DataLoader, Dataset

from training.datasets.joint_data import BALANCED, COLOR, FILL_IN, OPEN, PRESENCE, YES_NO, JointSources, joint_data
from training.metrics.wups import WordNetMissing
from training.run_config import parse_overrides, read_sections
from valm_core.checkpoints.atomic_files import write_text
from valm_core.checkpoints.storage import save_checkpoint
from valm_core.config import ValmConfig, from_plain_values
from valm_core.inputs.photo import open_photo, photo_to_pixels
from valm_core.model.build import build_model, reconfigure
from valm_core.model.concepts import photo_logits
from valm_core.model.encoder_layers import encoder_layers
from valm_core.model.fusion import WordCellSimilarity
from valm_core.model.heads import QuestionHead
from valm_core.model.model import ValmModel
from valm_core.model.text_encoder import build_tokenizer
from valm_core.outputs import InputError
from valm_core.predictor import choose_device

MAX_TOKENS = 40  # of a question or caption; longer ones are cut
MASS_FLOOR = 1e-3  # least share of a map in the boxes, so that its logarithm stays finite
TOLD_EVERY = 50  # steps
Report = Callable[[str], None]


@dataclass(frozen=True)
class JointConfig:
    """How long, how fast and with which weights. Checked on construction.

    Args:
        question_seconds, seconds: of the first stage, questions alone, and of the second; 0 leaves the stage out.
        question_steps, steps: the same in steps; where it isn't 0 it decides and the seconds don't.
        photos: in a step.
        blind: questions without photos in a step; twice as many in the first stage.
        photo_side: of the squares that photos are kept as, pixels.
        side: of the square that training crops to, pixels.
        learning_rate, backbone_learning_rate, text_learning_rate: peaks; ``question_learning_rate`` in the first stage.
        concept_weight: λ_v.
        caption_weight, region_weight: the parts of λ_a.
        function_weight: of the penalty on reading by function words.
        distinct_weight: of the penalty on words with the same map.
        label_smoothing, weight_decay: as usual.
        average: of the running mean of the weights, a step.
        question_rows, presence_rows, color_rows, fill_in_rows: questions a photo at most: of people and of each kind
            that is made.
        workers: processes that open photos; 0 for none.
        seed: of everything drawn.

    Raises:
        ValueError: a value is outside what is allowed.
    """

    question_seconds: float = 30.0
    seconds: float = 330.0
    question_steps: int = 0
    steps: int = 0
    photos: int = 192
    blind: int = 512
    photo_side: int = 208
    side: int = 192
    learning_rate: float = 1e-3
    backbone_learning_rate: float = 2e-4
    text_learning_rate: float = 4e-5
    question_learning_rate: float = 2e-4
    concept_weight: float = 0.05
    caption_weight: float = 0.3
    region_weight: float = 0.2
    function_weight: float = 0.1
    distinct_weight: float = 0.1
    label_smoothing: float = 0.05
    weight_decay: float = 0.05
    average: float = 0.998
    question_rows: int = 5
    presence_rows: int = 2
    color_rows: int = 1
    fill_in_rows: int = 2
    workers: int = 2
    seed: int = 0

    def __post_init__(self):
        least = {"photos": 2, "blind": 2, "photo_side": 16, "side": 16, "question_rows": 1}
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if not (math.isfinite(value) and value >= least.get(field.name, 0)):
                raise ValueError(f"{field.name} is {value!r}; a number from {least.get(field.name, 0)} is needed.")
        for name in ("label_smoothing", "average"):
            if getattr(self, name) >= 1:
                raise ValueError(f"{name} is {getattr(self, name)!r}; a number from 0 to below 1 is needed.")
        if not self.steps and not self.seconds:
            raise ValueError("seconds and steps are both 0, so that nothing would be learned; set one of them.")

    @property
    def rows(self) -> tuple[int, int, int, int]:
        """Questions a photo at most, by the groups of ``JointBatches.by_photo``."""
        return self.question_rows, self.presence_rows, self.color_rows, self.fill_in_rows


SECTIONS = {"data": JointSources, "model": ValmConfig, "training": JointConfig}


class JointBatches:
    """Photos with their questions as tensors on one device, drawn anew in every epoch.

    Args:
        arrays: of ``training.datasets.joint_data.joint_data``.
        pixels: uint8 [photos, 3, S, S], on any device.
        answers, concepts: how many.
        device: ``cpu``, ``cuda`` or ``mps``.
        seed: of what is drawn by numpy; torch's own generator draws crops.
    """

    def __init__(
        self,
        arrays: dict[str, np.ndarray],
        pixels: Tensor,
        answers: int,
        concepts: int,
        device: str,
        seed: int = 0,
    ):
        self.data = {name: torch.from_numpy(value) for name, value in arrays.items()}
        self.pixels, self.answers, self.concepts, self.device = pixels, answers, concepts, device
        self.generator = np.random.default_rng(seed)
        count = len(arrays["boxes"])
        self.by_photo: list[list[list[int]]] = [[[], [], [], []] for _ in range(count)]
        group = {OPEN: 0, YES_NO: 0, BALANCED: 0, PRESENCE: 1, COLOR: 2, FILL_IN: 3}
        kinds = arrays["row_kind"]
        for row, (photo, kind) in enumerate(zip(arrays["row_photo"].tolist(), kinds.tolist(), strict=True)):
            self.by_photo[photo][group[kind]].append(row)
        self.captions_of: list[list[int]] = [[] for _ in range(count)]
        for text, photo in arrays["captions"].tolist():
            self.captions_of[photo].append(text)
        share = np.select([kinds == FILL_IN, kinds >= PRESENCE], [0.3, 0.15], 1.5)
        self.row_odds = torch.from_numpy(share / share.sum())
        self.boxes, self.sided = self.data["boxes"].to(device), self.data["sided"].to(device)
        self._keep_labels(count)
        self._keep_texts(arrays)

    def _keep_labels(self, count: int) -> None:
        """Concepts of every photo: ``labels`` [photos, C], 0 or 1, and how far each counts, ``weight`` [photos, C]."""
        labels = torch.zeros(count, self.concepts, dtype=torch.float16)
        weight = self.data["absent_weight"].half()[:, None].repeat(1, self.concepts)
        shown, maybe = self.data["concept_shown"].long(), self.data["concept_maybe"].long()
        labels[shown[:, 0], shown[:, 1]] = 1
        weight[maybe[:, 0], maybe[:, 1]] = 0
        weight[shown[:, 0], shown[:, 1]] = 1
        self.labels, self.weight = labels.to(self.device), weight.to(self.device)

    def _keep_texts(self, arrays: dict[str, np.ndarray]) -> None:
        """Texts padded: ``text_ids`` [texts, T], and ``text_marks`` [2, texts, T] of function and person words."""
        starts = arrays["text_starts"]
        lengths = np.minimum(np.diff(starts), MAX_TOKENS)
        padded = np.arange(MAX_TOKENS) < lengths[:, None]
        at = (starts[:-1, None] + np.arange(MAX_TOKENS))[padded]
        ids, marks = np.zeros(padded.shape, np.int32), np.zeros((2, *padded.shape), bool)
        ids[padded] = arrays["text_ids"][at]
        marks[0][padded], marks[1][padded] = arrays["text_function"][at] > 0, arrays["text_person"][at] > 0
        self.text_lengths = torch.from_numpy(lengths)
        self.text_lengths_there = self.text_lengths.to(self.device)
        self.text_ids, self.text_marks = torch.from_numpy(ids).to(self.device), torch.from_numpy(marks).to(self.device)

    def texts(self, places: list[int]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Token ids, mask, function and person marks, each [B, T]."""
        which = torch.tensor(places, device=self.device)
        length = int(self.text_lengths[places].max())
        function, person = (self.text_marks[part, which, :length] for part in range(2))
        mask = torch.arange(length, device=self.device) < self.text_lengths_there[which][:, None]
        return self.text_ids[which, :length].long(), mask, function, person

    def targets(self, rows: list[int], name: str) -> Tensor:
        """[B, A], rows summing to 1."""
        starts = self.data[f"{name}_starts"]
        chosen = torch.tensor(rows)
        counts = starts[chosen + 1] - starts[chosen]
        place = torch.repeat_interleave(torch.arange(len(rows)), counts)
        within = torch.arange(len(place)) - torch.repeat_interleave(counts.cumsum(0) - counts, counts)
        flat = torch.repeat_interleave(starts[chosen], counts) + within
        targets = torch.zeros(len(rows), self.answers, device=self.device)
        which = self.data[f"{name}_answers"][flat].long().to(self.device)
        targets[place.to(self.device), which] = self.data[f"{name}_shares"][flat].to(self.device)
        return targets

    def balanced(self, kinds: Tensor) -> Tensor:
        """[B]: 1 for balanced questions, 0 for yes/no ones as people ask them, chance where it doesn't matter."""
        chance = torch.rand(len(kinds)).round()
        balanced = torch.where(
            (kinds == BALANCED) | (kinds == PRESENCE), 1.0, torch.where(kinds == YES_NO, 0.0, chance)
        )
        return balanced.to(self.device)

    def blind_batch(self, size: int) -> tuple[dict[str, Tensor], Tensor]:
        """Questions without photos: arguments of ``ValmModel.question_logits``, and targets."""
        alone = int(size * 0.6)
        rows = self.generator.integers(0, len(self.data["blind_text"]), alone).tolist()
        asked = torch.multinomial(self.row_odds, size - alone, replacement=True).tolist()
        places = self.data["blind_text"][rows].tolist() + self.data["row_text"][asked].tolist()
        ids, mask, _, _ = self.texts(places)
        kinds = torch.cat([self.data["blind_kind"][rows], self.data["row_kind"][asked]])
        targets = torch.cat([self.targets(rows, "blind"), self.targets(asked, "row")])
        return {"token_ids": ids, "text_mask": mask, "balanced": self.balanced(kinds)}, targets

    def photo_batch(self, photos: list[int], limits: tuple[int, ...], side: int) -> dict[str, Tensor]:
        """Photos with some of their questions and a caption, see ``joint_loss``."""
        rows: list[int] = []
        of: list[int] = []
        captions: list[int] = []
        caption_of: list[int] = []
        for place, photo in enumerate(photos):
            for group, limit in zip(self.by_photo[photo], limits, strict=True):
                picked = group if len(group) <= limit else self.generator.choice(group, limit, replace=False).tolist()
                rows += picked
                of += [place] * len(picked)
            if self.captions_of[photo]:
                captions.append(int(self.generator.choice(self.captions_of[photo])))
                caption_of.append(place)
        ids, mask, function, person = self.texts(self.data["row_text"][rows].tolist() + captions)
        which = torch.tensor(photos, device=self.device)
        pixels, boxes = self.cropped(which, side)
        return {
            "ids": ids,
            "mask": mask,
            "function": function,
            "person": person,
            "targets": self.targets(rows, "row"),
            "balanced": self.balanced(self.data["row_kind"][rows]),
            "importance": torch.where(self.data["row_kind"][rows] == FILL_IN, 0.5, 1.0).to(self.device),
            "photo_index": torch.tensor(of, device=self.device),
            "caption_index": torch.tensor(caption_of, device=self.device, dtype=torch.long),
            "pixels": pixels,
            "boxes": boxes,
            "labels": self.labels[which],
            "weight": self.weight[which],
        }

    def cropped(self, which: Tensor, side: int) -> tuple[Tensor, Tensor]:
        """Random crops of photos [P] squashed to squares, some mirrored, and their boxes.

        Returns:
            Pixels [P, 3, side, side] in 0..1, of other brightness and contrast; boxes [P, K, 4] in 0..1 of them.
        """
        count = len(which)
        scale = torch.sqrt(torch.empty(count, 1).uniform_(0.6, 1.0)) * torch.empty(count, 2).uniform_(0.93, 1.07)
        scale = scale.clamp(max=1.0).to(self.device)  # width, height
        low = torch.rand(count, 2, device=self.device) * (1 - scale)
        mirrored = (torch.rand(count, device=self.device) < 0.5) & ~self.sided[which]
        sign = torch.where(mirrored, -1.0, 1.0)
        theta = torch.zeros(count, 2, 3, device=self.device)
        theta[:, 0, 0], theta[:, 1, 1] = scale[:, 0] * sign, scale[:, 1]
        theta[:, :, 2] = 2 * low + scale - 1
        photos = self.pixels[which.to(self.pixels.device)].to(self.device).float() / 255
        grid = functional.affine_grid(theta, [count, 3, side, side], align_corners=False)
        pixels = functional.grid_sample(photos, grid, padding_mode="reflection", align_corners=False)
        contrast = torch.empty(count, 1, 1, 1, device=self.device).uniform_(0.8, 1.2)
        bright = torch.empty(count, 1, 1, 1, device=self.device).uniform_(-0.1, 0.1)
        tint = torch.empty(count, 3, 1, 1, device=self.device).uniform_(0.95, 1.05)
        mean = pixels.mean(dim=(1, 2, 3), keepdim=True)
        pixels = (((pixels - mean) * contrast + mean + bright) * tint).clamp(0, 1)
        boxes = self.boxes[which]
        corner, size = low.repeat(1, 2)[:, None], scale.repeat(1, 2)[:, None]
        boxes = ((boxes - corner) / size).clamp(0, 1)
        flipped = torch.stack([1 - boxes[..., 2], boxes[..., 1], 1 - boxes[..., 0], boxes[..., 3]], dim=-1)
        return pixels, torch.where(mirrored[:, None, None], flipped, boxes)


def cells_in_boxes(boxes: Tensor, side: int) -> Tensor:
    """[P, K, 4] in 0..1, NaN for none -> [P, side * side], True where a cell's middle lies in a box."""
    middle = (torch.arange(side, device=boxes.device) + 0.5) / side
    x, y = middle[None, None, None, :], middle[None, None, :, None]
    x0, y0, x1, y1 = (boxes[..., part, None, None] for part in range(4))  # [P, K, 1, 1]
    return ((x >= x0) & (x <= x1) & (y >= y0) & (y <= y1)).any(dim=1).flatten(1)


def joint_loss(model: ValmModel, batch: dict[str, Tensor], config: JointConfig, log_scale: Tensor) -> dict[str, Tensor]:
    """The terms of the loss of one batch of photos, before their weights.

    Args:
        model: learns also its average image token.
        batch: of ``JointBatches.photo_batch``: R questions, then C captions of P photos.
        config: gives the label smoothing.
        log_scale: logarithm of the sharpness that captions and photos are compared with.
    """
    text = model.text_encoder(batch["ids"], batch["mask"]).tokens
    rows = len(batch["photo_index"])
    tokens, concepts = model.image_encoder.tokens(model.image_encoder.features(batch["pixels"]))
    side = math.isqrt(tokens.shape[1])
    model.image_encoder.grid = (side, side)  # of the crops
    with torch.no_grad():
        model.mean_image_token.lerp_(tokens.float().mean(dim=(0, 1)), 0.02)
    output = model(
        batch["mask"][:rows],
        text_tokens=text[:rows],
        image_tokens=tokens,
        photo_index=batch["photo_index"],
        return_attention=True,
        balanced=batch["balanced"],
        fixed_prior=True,
    )
    maps = torch.stack(
        [step.weights for step in output.features.attention if (step.query, step.key) == ("text", "image")]
    )
    maps = maps.float().mean(dim=(0, 2))  # [R, T, N] of every word over layers and heads
    inside = cells_in_boxes(batch["boxes"], side)
    content = batch["mask"] & ~batch["function"]
    cosine = caption_cosines(model, text[rows:], tokens)
    own = batch["caption_index"]
    of_own = cosine[torch.arange(len(own), device=own.device), own].float().mul(10).softmax(dim=-1)  # [C, T, N]
    if concepts is None:
        raise ValueError("The image encoder has no concepts; see `check_model`.")
    return {
        "task": task_term(output.logits, batch, config.label_smoothing),
        "concepts": concept_term(concepts, batch["labels"], batch["weight"]),
        "function": function_term(output.features.text_pooling, batch["function"][:rows], content[:rows]),
        "distinct": distinct_term(maps, content[:rows]),
        "region": region_term(maps, batch["person"][:rows], inside[batch["photo_index"]])
        + region_term(of_own, batch["person"][rows:], inside[own]),
        "captions": caption_term(cosine, content[rows:], own, log_scale),
    }


def task_term(logits: Tensor, batch: dict[str, Tensor], label_smoothing: float) -> Tensor:
    """L_task: how unlike the answers' shares the logits [R, A] are; words to fill in count half."""
    losses = functional.cross_entropy(
        logits.float(), batch["targets"], label_smoothing=label_smoothing, reduction="none"
    )
    return (losses * batch["importance"]).mean()


def concept_term(cells: Tensor, labels: Tensor, weight: Tensor) -> Tensor:
    """ℓ_v: concepts of photos [P, C] by the logits of their cells [P, N, C], weighted [P, C]."""
    losses = functional.binary_cross_entropy_with_logits(photo_logits(cells), labels.float(), reduction="none")
    return (losses * weight.float()).sum(dim=1).mean()


def function_term(pooling: Tensor, function: Tensor, content: Tensor) -> Tensor:
    """How much of the words' pooling [R, T] lies on function words, in questions that have content words."""
    some = content.any(dim=1)
    on_function = (pooling.float() * function).sum(dim=1).clamp(max=0.999)
    return -(torch.log1p(-on_function) * some).sum() / some.sum().clamp(min=1)


def distinct_term(maps: Tensor, content: Tensor) -> Tensor:
    """How alike the maps [R, T, N] of a question's content words [R, T] are: mean correlation, at least 0."""
    unit = functional.normalize(maps - maps.mean(dim=-1, keepdim=True), dim=-1) * content[..., None]
    alike = (unit @ unit.transpose(1, 2)).clamp(min=0)
    others = ~torch.eye(content.shape[1], dtype=torch.bool, device=content.device)
    pairs = content[:, :, None] & content[:, None, :] & others
    return (alike * pairs).sum() / pairs.sum().clamp(min=1)


def region_term(maps: Tensor, person: Tensor, inside: Tensor) -> Tensor:
    """How little of the maps [B, T, N] of person words [B, T] lies in persons' boxes [B, N], of photos with boxes."""
    mass = torch.einsum("btn,bn->bt", maps, inside.float())
    counted = person & inside.any(dim=1)[:, None]
    return -(mass.clamp(min=MASS_FLOOR).log() * counted).sum() / counted.sum().clamp(min=1)


def caption_cosines(model: ValmModel, text: Tensor, tokens: Tensor) -> Tensor:
    """Cosines [C, P, T, N] of captions' words [C, T, D] and photos' cells [P, N, D], by the model's own similarity."""
    similarity = cast(WordCellSimilarity, model.similarity)  # see check_model
    words = functional.normalize(similarity.word(text).float(), dim=-1)
    cells = functional.normalize(similarity.cell(tokens).float(), dim=-1)
    with torch.autocast(tokens.device.type, torch.bfloat16, enabled=tokens.device.type == "cuda"):
        return torch.einsum("ctw,pnw->cptn", words, cells)


def caption_term(cosine: Tensor, said: Tensor, own: Tensor, log_scale: Tensor) -> Tensor:
    """How ill captions find their photos and photos their captions, by late interaction (FILIP, Yao et al. 2022).

    Args:
        cosine: [C, P, T, N].
        said: [C, T], the captions' content words.
        own: [C], each caption's photo.
        log_scale: logarithm of the sharpness, at most 100.
    """
    if not len(own):
        return cosine.sum()  # 0, of nothing
    best = cosine.float().amax(dim=-1)  # [C, P, T]
    score = (best * said[:, None]).sum(dim=-1) / said.sum(dim=-1)[:, None].clamp(min=1)  # [C, P]
    score = score * log_scale.exp().clamp(max=100)
    captions = torch.arange(len(own), device=own.device)
    back = functional.cross_entropy(score[:, own].T, captions)
    return (functional.cross_entropy(score, own) + back) / 2


def learning_groups(model: ValmModel, config: JointConfig, extra: list[nn.Parameter]) -> list[dict]:
    """Parameter groups with their peak rates; the text encoder's embeddings stay."""
    model.requires_grad_(True)
    model.text_encoder.requires_grad_(False)
    nn.ModuleList(encoder_layers(model.text_encoder)).requires_grad_(True)
    groups: dict[tuple[float, float], list] = {}
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        rate = config.learning_rate
        if name.startswith("image_encoder.backbone."):
            rate = config.backbone_learning_rate
        elif name.startswith(("text_encoder.", "question_head.")):
            rate = config.text_learning_rate
        groups.setdefault((rate, config.weight_decay if parameter.ndim > 1 else 0.0), []).append(parameter)
    groups.setdefault((config.learning_rate, 0.0), []).extend(extra)
    return [
        {"params": found, "lr": rate, "peak": rate, "weight_decay": decay} for (rate, decay), found in groups.items()
    ]


def set_rates(optimizer: torch.optim.Optimizer, progress: float, warmup: float = 0.04) -> None:
    """Linear rise, then a cosine to 0, of every group's own peak."""
    factor = min(1.0, progress / warmup) * 0.5 * (1 + math.cos(math.pi * min(progress, 1.0)))
    for group in optimizer.param_groups:
        group["lr"] = group["peak"] * factor


def progress_at(step: int, steps: int, start: float, seconds: float) -> float:
    """How far a stage is, from 0; from 1 on it is over. By steps, or by the time since ``start`` where steps is 0."""
    if steps:
        return step / steps
    return (time.perf_counter() - start) / seconds if seconds else 1.0


def learn_questions(model: ValmModel, batches: JointBatches, config: JointConfig, tell: Report = print) -> int:
    """First stage: the question head and the text encoder's layers, from questions alone. Returns the steps made."""
    model.requires_grad_(False)
    head = cast(QuestionHead, model.question_head)  # see check_model
    learning = nn.ModuleList([head, *encoder_layers(model.text_encoder)]).requires_grad_(True)
    heads, layers = list(head.parameters()), list(learning[1:].parameters())
    optimizer = torch.optim.AdamW(
        [
            {"params": heads, "lr": 0.0, "peak": 1e-3},
            {"params": layers, "lr": 0.0, "peak": config.question_learning_rate},
        ],
        weight_decay=0.02,
        fused=batches.device == "cuda",
    )
    start, step = time.perf_counter(), 0
    model.train()
    while (progress := progress_at(step, config.question_steps, start, config.question_seconds)) < 1:
        set_rates(optimizer, progress)
        inputs, targets = batches.blind_batch(2 * config.blind)
        with torch.autocast(batches.device, torch.bfloat16, enabled=batches.device == "cuda"):
            logits = model.question_logits(**inputs)
        loss = functional.cross_entropy(logits.float(), targets, label_smoothing=config.label_smoothing)
        learn(optimizer, loss)
        step += 1
        if step % (2 * TOLD_EVERY) == 0:
            tell(f"questions: step {step} loss {loss.item():.3f} {time.perf_counter() - start:.0f} s")
    tell(f"questions: {step} steps")
    return step


def learn(optimizer: torch.optim.Optimizer, loss: Tensor) -> None:
    """One step down a loss, with gradients of norm 1 at most."""
    optimizer.zero_grad()
    loss.backward()
    nn.utils.clip_grad_norm_([p for group in optimizer.param_groups for p in group["params"]], 1.0)
    optimizer.step()


def learn_together(
    model: ValmModel, batches: JointBatches, config: JointConfig, tell: Report = print
) -> tuple[ValmModel, int, list[dict[str, float]]]:
    """Second stage: everything.

    Returns:
        The model with the running mean of the weights, the steps made, and of every ``TOLD_EVERY`` of them the mean
        terms of the loss.

    Raises:
        FloatingPointError: the loss is no number any more.
    """
    log_scale = nn.Parameter(torch.tensor(20.0, device=batches.device).log())
    groups = learning_groups(model, config, [log_scale])
    optimizer = torch.optim.AdamW(groups, betas=(0.9, 0.98), fused=batches.device == "cuda")
    averaged = copy.deepcopy(model).requires_grad_(False)
    pairs = zip(averaged.state_dict().values(), model.state_dict().values(), strict=True)
    means, values = zip(*(pair for pair in pairs if pair[0].is_floating_point()), strict=True)
    start, step, epoch = time.perf_counter(), 0, 0
    order: list[int] = []
    sums: dict[str, list[Tensor]] = {}
    history: list[dict[str, float]] = []
    model.train()
    while (progress := progress_at(step, config.steps, start, config.seconds)) < 1:
        if len(order) < config.photos:
            order = batches.generator.permutation(len(batches.by_photo)).tolist()
            epoch += 1
        set_rates(optimizer, progress)
        photos, order = order[: config.photos], order[config.photos :]
        terms = step_terms(model, batches, photos, config, log_scale)
        learn(optimizer, terms["all"])
        step += 1
        torch._foreach_lerp_(means, values, 1 - min(config.average, (1 + step) / (10 + step)))
        for name, value in terms.items():
            sums.setdefault(name, []).append(value.detach())
        if step == 1 or step % TOLD_EVERY == 0 or step == config.steps:
            history.append({"step": step} | {name: torch.stack(parts).mean().item() for name, parts in sums.items()})
            shown = " ".join(f"{name} {value:.3f}" for name, value in history[-1].items() if name != "step")
            tell(f"step {step} epoch {epoch} {time.perf_counter() - start:.0f} s: {shown}")
            sums = {}
            if not math.isfinite(history[-1]["all"]):
                raise FloatingPointError(f"The loss is no number any more by step {step}. Lower the learning rates.")
    model.image_encoder.grid = averaged.image_encoder.grid
    tell(f"together: {step} steps, {epoch} epochs")
    return averaged.eval(), step, history


def step_terms(
    model: ValmModel, batches: JointBatches, photos: list[int], config: JointConfig, log_scale: Tensor
) -> dict[str, Tensor]:
    """The terms of one step's loss before their weights, and ``all``, their weighted sum."""
    batch = batches.photo_batch(photos, config.rows, config.side)
    inputs, targets = batches.blind_batch(config.blind)
    mask, balanced = inputs["text_mask"], inputs["balanced"]
    with torch.autocast(batches.device, torch.bfloat16, enabled=batches.device == "cuda"):
        terms = joint_loss(model, batch, config, log_scale)
        text = model.text_encoder(inputs["token_ids"], mask).tokens
        prior = model.question_logits(mask, text_tokens=text, balanced=balanced)
        unseen = model(mask, text_tokens=text, balanced=balanced, fixed_prior=True).logits
    terms["prior"] = functional.cross_entropy(prior.float(), targets, label_smoothing=config.label_smoothing)
    terms["blind"] = functional.cross_entropy(unseen.float(), targets, label_smoothing=config.label_smoothing)
    weights = {
        "task": 1.0,
        "prior": 0.5,
        "blind": 0.2,
        "concepts": config.concept_weight,
        "captions": config.caption_weight,
        "region": config.region_weight,
        "function": config.function_weight,
        "distinct": config.distinct_weight,
    }
    weighted = [weight * terms[name] for name, weight in weights.items()]
    return terms | {"all": sum(weighted[1:], weighted[0])}


class PhotoSquares(Dataset):
    """Photos as squares uint8 [3, side, side], squashed."""

    def __init__(self, paths: list[Path], side: int):
        self.paths, self.side = paths, side

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, place: int) -> Tensor | str:
        """The square, or what is wrong with the photo: an error would come out of a process as another one."""
        try:
            pixels = photo_to_pixels(open_photo(self.paths[place]), self.side)
        except (InputError, OSError) as error:
            return f"{self.paths[place]}: {error}"
        return (pixels * 255).round().to(torch.uint8)


def open_photos(paths: list[Path], side: int, workers: int, tell: Report = print) -> Tensor:
    """All photos as squares, uint8 [photos, 3, side, side].

    Raises:
        InputError: one can't be read; its path is named.
    """
    squares = torch.empty(len(paths), 3, side, side, dtype=torch.uint8)
    for place, square in enumerate(DataLoader(PhotoSquares(paths, side), batch_size=None, num_workers=workers)):
        if isinstance(square, str):
            raise InputError(square)
        squares[place] = square
        if (place + 1) % 5000 == 0:
            tell(f"photos: {place + 1} of {len(paths)}")
    return squares


def check_model(config: ValmConfig) -> None:
    """Refuse models that lack what the terms of the loss need.

    Raises:
        ValueError: naming the setting and what it must be.
    """
    for name, needed in (("concepts", "a number above 0"), ("similarity", "true"), ("question_head", "true")):
        if not getattr(config, name):
            raise ValueError(f"{name} is {getattr(config, name)!r}; joint training needs {needed}.")


def stored_config(model: ValmModel) -> ValmConfig:
    """The config of a checkpoint with the image encoder and the text encoder's layers; its embeddings didn't learn."""
    layers = len(encoder_layers(model.text_encoder))
    return dataclasses.replace(
        model.config, train_text_encoder=False, learned_text_layers=layers, train_image_encoder=True
    )


def train_joint(
    sources: JointSources, config: ValmConfig, training: JointConfig, output: Path, device: str, tell: Report = print
) -> dict:
    """Train and write ``<output>/checkpoint`` and ``<output>/run.json``. Returns what the latter holds."""
    check_model(config)
    place = choose_device(device)
    output.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(training.seed)
    data = joint_data(sources, build_tokenizer(config.text_encoder), config.concepts, training.seed)
    arrays, answers, concepts = data["arrays"], data["answers"], data["concepts"]
    tell(f"{len(data['photos'])} photos, {len(arrays['row_text'])} questions, {len(concepts)} concepts")
    paths = [sources.photo_path(photo) for photo in data["photos"]]
    pixels = open_photos(paths, training.photo_side, training.workers, tell)
    model = build_model(dataclasses.replace(config, concepts=len(concepts)), answers, concepts=concepts).to(place)
    if place.type == "cuda":
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.benchmark = True
        pixels = pixels.to(place)
    batches = JointBatches(arrays, pixels, len(answers), len(concepts), place.type, training.seed)
    question_steps = learn_questions(model, batches, training, tell)
    model, steps, history = learn_together(model, batches, training, tell)
    reconfigure(model, stored_config(model))
    save_checkpoint(model.cpu(), output / "checkpoint", half=True)
    run: dict = {"data": dataclasses.asdict(sources), "model": dataclasses.asdict(model.config)}
    run |= {"training": dataclasses.asdict(training)}
    run |= {"device": place.type, "photos": len(paths), "question_steps": question_steps, "steps": steps}
    run["history"] = history
    write_text(output / "run.json", json.dumps(run, indent=2) + "\n")
    return run


def main(arguments: list[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", required=True, help="YAML file, or the name of a shipped one: joint.yaml")
    parser.add_argument("--output", required=True, help="folder of the run; a checkpoint in it is replaced")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or mps")
    parser.add_argument("settings", nargs="*", metavar="name=value", help="change any setting of the config")
    options = parser.parse_intermixed_args(arguments)  # settings may stand before, between and after the options
    try:
        sections = read_sections(options.config, parse_overrides(options.settings), SECTIONS)
        data = from_plain_values(JointSources, sections["data"])
        model = from_plain_values(ValmConfig, sections["model"])
        training = from_plain_values(JointConfig, sections["training"])
        run = train_joint(data, model, training, Path(options.output), options.device)
    except (OSError, FloatingPointError, ValueError, WordNetMissing, yaml.YAMLError) as error:
        parser.exit(2, f"{error}\n")
    checkpoint = Path(options.output) / "checkpoint"
    print(
        f"The checkpoint of {run['steps']} steps is in {checkpoint}. Its probabilities aren't calibrated yet. "
        "Next, with questions that it didn't learn from:\n"
        f"    python -m training.calibrate --checkpoint {checkpoint} --data VALIDATION.jsonl\n"
        f"    python -m training.evaluate --checkpoint {checkpoint} --data VALIDATION.jsonl"
    )


if __name__ == "__main__":
    main()
