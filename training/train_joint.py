"""Train encoders and fusion together, from pixels, on a GPU: answers, concepts, captions and places at once.

Example:
    python -m training.train_joint --config training/configs/joint.yaml --output runs/joint

Every step takes photos, each with its questions, and minimises L = L_task + λ_v ℓ_v + λ_a ℓ_a: ℓ_v asks the cells for
the concepts of captions, tags and answers; ℓ_a brings captions and photos together word by word and cell by cell, and
draws the maps of person words into persons' boxes. Beside it a batch of questions without photos keeps the question
head honest. The weights' running mean is what is saved. The length is a time, so that a borrowed GPU is given back.
"""

import copy
import math
import time
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from training.datasets.joint_data import BALANCED, COLOR, FILL_IN, OPEN, PRESENCE, YES_NO
from valm_core.concepts import photo_logits
from valm_core.encoder_layers import encoder_layers
from valm_core.model import ValmModel


@dataclass(frozen=True)
class JointConfig:
    """How long, how fast and with which weights.

    Args:
        question_seconds, seconds: of the first stage, questions alone, and of the second.
        photos: in a step; ``blind``: questions without photos in a step.
        side: of the square that training crops to, pixels.
        learning_rate, backbone_learning_rate, text_learning_rate: peaks; ``question_learning_rate`` in the first stage.
        concept_weight: λ_v. caption_weight, region_weight: the parts of λ_a.
        function_weight: of the penalty on reading by function words; ``distinct_weight``: on words with the same map.
        label_smoothing, weight_decay: as usual.
        average: of the running mean of the weights, a step.
        rows: questions of people a photo at most, then presence, color and fill-in questions.
    """

    question_seconds: float = 30.0
    seconds: float = 330.0
    photos: int = 192
    blind: int = 512
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
    rows: tuple[int, int, int, int] = (5, 2, 1, 2)
    seed: int = 0


class JointBatches:
    """Photos with their questions as tensors on one device, drawn anew in every epoch."""

    def __init__(self, arrays: dict[str, np.ndarray], pixels: Tensor, answers: int, concepts: int, device: str):
        self.data = {name: torch.from_numpy(value) for name, value in arrays.items()}
        self.pixels, self.answers, self.concepts, self.device = pixels, answers, concepts, device
        count = len(arrays["boxes"])
        self.by_photo: list[list[list[int]]] = [[[], [], [], []] for _ in range(count)]
        group = {OPEN: 0, YES_NO: 0, BALANCED: 0, PRESENCE: 1, COLOR: 2, FILL_IN: 3}
        for row, (photo, kind) in enumerate(
            zip(arrays["row_photo"].tolist(), arrays["row_kind"].tolist(), strict=True)
        ):
            self.by_photo[photo][group[kind]].append(row)
        self.captions_of: list[list[int]] = [[] for _ in range(count)]
        for text, photo in arrays["captions"].tolist():
            self.captions_of[photo].append(text)
        labels = torch.zeros(count, concepts, dtype=torch.float16)
        weight = torch.from_numpy(arrays["absent_weight"]).half()[:, None].repeat(1, concepts)
        shown, maybe = self.data["concept_shown"].long(), self.data["concept_maybe"].long()
        labels[shown[:, 0], shown[:, 1]] = 1
        weight[maybe[:, 0], maybe[:, 1]] = 0
        weight[shown[:, 0], shown[:, 1]] = 1
        self.labels, self.weight = labels.to(device), weight.to(device)
        self.boxes, self.sided = self.data["boxes"].to(device), self.data["sided"].to(device)
        starts, most = arrays["text_starts"], 40
        lengths = np.minimum(np.diff(starts), most)
        padded = np.arange(most) < lengths[:, None]  # [texts, 40]
        at = (starts[:-1, None] + np.arange(most))[padded]
        ids, marks = np.zeros(padded.shape, np.int32), np.zeros((2, *padded.shape), bool)
        ids[padded] = arrays["text_ids"][at]
        marks[0][padded], marks[1][padded] = arrays["text_function"][at] > 0, arrays["text_person"][at] > 0
        self.text_lengths = torch.from_numpy(lengths)
        self.text_lengths_there = self.text_lengths.to(device)
        self.text_ids, self.text_marks = torch.from_numpy(ids).to(device), torch.from_numpy(marks).to(device)
        kinds = arrays["row_kind"]
        share = np.select([kinds == FILL_IN, kinds >= PRESENCE], [0.3, 0.15], 1.5)
        self.row_odds = torch.from_numpy(share / share.sum())
        self.generator = np.random.default_rng(0)

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
        told = torch.where((kinds == BALANCED) | (kinds == PRESENCE), 1.0, torch.where(kinds == YES_NO, 0.0, chance))
        return told.to(self.device)

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
        rows, of, captions, caption_of = [], [], [], []
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
        """Random crops, squashed to a square, some mirrored, of other brightness and contrast; and the boxes in them."""
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
        grid = F.affine_grid(theta, [count, 3, side, side], align_corners=False)
        pixels = F.grid_sample(photos, grid, padding_mode="reflection", align_corners=False)
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
    """The terms of the loss of one batch of photos, before their weights."""
    text = model.text_encoder(batch["ids"], batch["mask"]).tokens
    rows = len(batch["photo_index"])
    features = model.image_encoder.features(batch["pixels"])
    tokens, concepts = model.image_encoder.tokens(features)
    side = math.isqrt(tokens.shape[1])
    model.image_encoder.grid = (side, side)
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
    task = F.cross_entropy(
        output.logits.float(), batch["targets"], label_smoothing=config.label_smoothing, reduction="none"
    )
    terms = {"task": (task * batch["importance"]).mean()}
    pooled = photo_logits(concepts)
    bce = F.binary_cross_entropy_with_logits(pooled, batch["labels"].float(), reduction="none")
    terms["concepts"] = (bce * batch["weight"].float()).sum(dim=1).mean()

    maps = torch.stack(
        [step.weights for step in output.features.attention if step.query == "text" and step.key == "image"]
    )
    maps = maps.float().mean(dim=(0, 2))  # [B, T, N]
    function, content = batch["function"][:rows], batch["mask"][:rows] & ~batch["function"][:rows]
    some = content.any(dim=1)
    pooling = output.features.text_pooling.float()
    on_function = (pooling * function).sum(dim=1).clamp(max=0.999)
    terms["function"] = -(torch.log1p(-on_function) * some).sum() / some.sum().clamp(min=1)
    centred = maps - maps.mean(dim=-1, keepdim=True)
    unit = F.normalize(centred, dim=-1) * content[..., None]
    alike = (unit @ unit.transpose(1, 2)).clamp(min=0)
    pairs = (
        content[:, :, None]
        & content[:, None, :]
        & ~torch.eye(content.shape[1], dtype=torch.bool, device=content.device)
    )
    terms["distinct"] = (alike * pairs).sum() / pairs.sum().clamp(min=1)

    inside = cells_in_boxes(batch["boxes"], side)  # [P, N]
    has_person = inside.any(dim=1)
    mass = torch.einsum("btn,bn->bt", maps, inside[batch["photo_index"]].float())
    person = batch["person"][:rows] & has_person[batch["photo_index"]][:, None]
    terms["region"] = -(mass.clamp(min=1e-3).log() * person).sum() / person.sum().clamp(min=1)

    words = F.normalize(model.similarity.word(text[rows:]).float(), dim=-1)  # [C, T, W]
    cells = F.normalize(model.similarity.cell(tokens).float(), dim=-1)  # [P, N, W]
    with torch.autocast(tokens.device.type, torch.bfloat16, enabled=tokens.device.type == "cuda"):
        cosine = torch.einsum("ctw,pnw->cptn", words, cells)
    best = cosine.float().amax(dim=-1)  # [C, P, T]
    said = (batch["mask"][rows:] & ~batch["function"][rows:]).float()
    score = (best * said[:, None]).sum(dim=-1) / said.sum(dim=-1)[:, None].clamp(min=1)
    score = score * log_scale.exp().clamp(max=100)
    own = batch["caption_index"]
    back = score[:, own]
    same = torch.arange(len(own), device=own.device)
    terms["captions"] = (F.cross_entropy(score, own) + F.cross_entropy(back.T, same)) / 2
    person = batch["person"][rows:] & has_person[own][:, None]
    place = cosine[same, own].float().mul(10).softmax(dim=-1)  # [C, T, N]
    mass = torch.einsum("ctn,cn->ct", place, inside[own].float())
    terms["region"] = terms["region"] - (mass.clamp(min=1e-3).log() * person).sum() / person.sum().clamp(min=1)
    return terms


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


def learn_questions(model: ValmModel, batches: JointBatches, config: JointConfig, tell=print) -> None:
    """First stage: the question head and the text encoder's layers, from questions alone."""
    model.requires_grad_(False)
    learning = nn.ModuleList([model.question_head, *encoder_layers(model.text_encoder)]).requires_grad_(True)
    heads, layers = list(model.question_head.parameters()), list(learning[1:].parameters())
    optimizer = torch.optim.AdamW(
        [
            {"params": heads, "lr": 0.0, "peak": 1e-3},
            {"params": layers, "lr": 0.0, "peak": config.question_learning_rate},
        ],
        weight_decay=0.02,
        fused=batches.device != "cpu",
    )
    start, step = time.perf_counter(), 0
    model.train()
    while (progress := (time.perf_counter() - start) / config.question_seconds) < 1:
        set_rates(optimizer, progress)
        inputs, targets = batches.blind_batch(2 * config.blind)
        with torch.autocast(batches.device, torch.bfloat16, enabled=batches.device == "cuda"):
            logits = model.question_logits(**inputs)
        loss = F.cross_entropy(logits.float(), targets, label_smoothing=config.label_smoothing)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(learning.parameters(), 1.0)
        optimizer.step()
        step += 1
        if step % 100 == 0:
            tell(f"questions: step {step} loss {loss.item():.3f} {time.perf_counter() - start:.0f} s")
    tell(f"questions: {step} steps")


def learn_together(model: ValmModel, batches: JointBatches, config: JointConfig, tell=print) -> ValmModel:
    """Second stage: everything. Returns the running mean of the weights."""
    log_scale = nn.Parameter(torch.tensor(20.0, device=batches.device).log())
    groups = learning_groups(model, config, [log_scale])
    optimizer = torch.optim.AdamW(groups, betas=(0.9, 0.98), fused=batches.device != "cpu")
    averaged = copy.deepcopy(model).requires_grad_(False)
    pairs = zip(averaged.state_dict().values(), model.state_dict().values(), strict=True)
    means, values = zip(*(pair for pair in pairs if pair[0].is_floating_point()), strict=True)
    weights = {
        "concepts": config.concept_weight,
        "captions": config.caption_weight,
        "region": config.region_weight,
        "function": config.function_weight,
        "distinct": config.distinct_weight,
    }
    start, step, epoch, order, sums = time.perf_counter(), 0, 0, [], {}
    model.train()
    while (progress := (time.perf_counter() - start) / config.seconds) < 1:
        if len(order) < config.photos:
            order = batches.generator.permutation(len(batches.by_photo)).tolist()
            epoch += 1
        set_rates(optimizer, progress)
        photos, order = order[: config.photos], order[config.photos :]
        batch = batches.photo_batch(photos, config.rows, config.side)
        inputs, targets = batches.blind_batch(config.blind)
        with torch.autocast(batches.device, torch.bfloat16, enabled=batches.device == "cuda"):
            terms = joint_loss(model, batch, config, log_scale)
            text = model.text_encoder(inputs["token_ids"], inputs["text_mask"]).tokens
            prior = model.question_logits(inputs["text_mask"], text_tokens=text, balanced=inputs["balanced"])
            unseen = model(inputs["text_mask"], text_tokens=text, balanced=inputs["balanced"], fixed_prior=True).logits
        terms["prior"] = F.cross_entropy(prior.float(), targets, label_smoothing=config.label_smoothing)
        terms["blind"] = F.cross_entropy(unseen.float(), targets, label_smoothing=config.label_smoothing)
        loss = terms["task"] + 0.5 * terms["prior"] + 0.2 * terms["blind"]
        loss = loss + sum(weight * terms[name] for name, weight in weights.items())
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_([p for group in optimizer.param_groups for p in group["params"]], 1.0)
        optimizer.step()
        step += 1
        torch._foreach_lerp_(means, values, 1 - min(config.average, (1 + step) / (10 + step)))
        for name, value in terms.items():
            sums[name] = sums.get(name, 0) + value.detach()
        if step == 1 or step % 50 == 0:
            told = " ".join(
                f"{name} {value.item() / (49 if step == 50 else min(step, 50)):.3f}" for name, value in sums.items()
            )
            tell(f"step {step} epoch {epoch} {time.perf_counter() - start:.0f} s: {told}")
            sums = {}
    return averaged.eval()
