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
from pathlib import Path
from typing import cast

import torch
import yaml
from torch import Tensor, nn
from torch.nn import functional

from training.datasets.joint_data import JointSources, joint_data
from training.joint.batches import JointBatches, Report, open_photos
from training.joint.config import JointConfig
from training.joint.layouts import Layout, take_quickest
from training.joint.losses import joint_loss
from training.metrics.wups import WordNetMissing
from training.run_config import parse_overrides, read_sections
from valm_core.checkpoints.atomic_files import write_text
from valm_core.checkpoints.storage import save_checkpoint
from valm_core.commands import ending_in_a_line
from valm_core.config import ValmConfig, from_plain_values
from valm_core.devices import choose_device
from valm_core.model.build import build_model, reconfigure
from valm_core.model.encoders.encoder_layers import encoder_layers
from valm_core.model.encoders.text_encoder import build_tokenizer
from valm_core.model.heads import QuestionHead
from valm_core.model.model import ValmModel

TOLD_EVERY = 50  # steps
WARMUP = 0.04  # of a stage
QUESTION_HEAD_RATE, QUESTION_WEIGHT_DECAY = 1e-3, 0.02  # of the first stage


SECTIONS = {"data": JointSources, "model": ValmConfig, "training": JointConfig}


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


def set_rates(optimizer: torch.optim.Optimizer, progress: float) -> None:
    """Linear rise, then a cosine to 0, of every group's own peak."""
    factor = min(1.0, progress / WARMUP) * 0.5 * (1 + math.cos(math.pi * min(progress, 1.0)))
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
            {"params": heads, "lr": 0.0, "peak": QUESTION_HEAD_RATE},
            {"params": layers, "lr": 0.0, "peak": config.question_learning_rate},
        ],
        weight_decay=QUESTION_WEIGHT_DECAY,
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
    model.train()
    layout = layout_on(model, batches, config, tell)  # moves the weights in memory: before anything refers to them
    optimizer = torch.optim.AdamW(groups, betas=(0.9, 0.98), fused=batches.device == "cuda")
    averaged = copy.deepcopy(model).requires_grad_(False)
    pairs = zip(averaged.state_dict().values(), model.state_dict().values(), strict=True)
    means, values = zip(*(pair for pair in pairs if pair[0].is_floating_point()), strict=True)
    start, step, epoch = time.perf_counter(), 0, 0
    order: list[int] = []
    sums: dict[str, list[Tensor]] = {}
    history: list[dict[str, float]] = []
    while (progress := progress_at(step, config.steps, start, config.seconds)) < 1:
        if len(order) < config.photos:
            order = batches.generator.permutation(len(batches.by_photo)).tolist()
            epoch += 1
        set_rates(optimizer, progress)
        photos, order = order[: config.photos], order[config.photos :]
        terms = step_terms(model, batches, photos, config, log_scale, layout)
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


def layout_on(model: ValmModel, batches: JointBatches, config: JointConfig, tell: Report = print) -> Layout:
    """The image encoder's layout: on a GPU the quickest, elsewhere float32 with channels last."""
    if batches.device != "cuda":
        return Layout(half=False, channels_last=True)  # as it was built
    some = torch.arange(min(config.photos, len(batches.by_photo)), device=batches.device)
    return take_quickest(model.image_encoder, batches.cropped(some, config.side)[0], tell=tell)


def step_terms(
    model: ValmModel,
    batches: JointBatches,
    photos: list[int],
    config: JointConfig,
    log_scale: Tensor,
    layout: Layout,
) -> dict[str, Tensor]:
    """The terms of one step's loss before their weights, and ``all``, their weighted sum."""
    batch = batches.photo_batch(photos, config.rows, config.side)
    inputs, targets = batches.blind_batch(config.blind)
    mask, balanced = inputs["text_mask"], inputs["balanced"]
    with torch.autocast(batches.device, torch.bfloat16, enabled=batches.device == "cuda"):
        terms = joint_loss(model, batch, config, log_scale, layout)
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


def check_model(config: ValmConfig) -> None:
    """Refuse models that lack what the terms of the loss need.

    Raises:
        ValueError: naming the setting and what it must be.
    """
    for name, needed in (("concepts", "a number above 0"), ("similarity", "true"), ("question_head", "true")):
        if not getattr(config, name):
            raise ValueError(f"{name} is {getattr(config, name)!r}; joint training needs {needed}.")


def stored_config(model: ValmModel, photo_side: int) -> ValmConfig:
    """The config of a checkpoint with the image encoder and the text encoder's layers; its embeddings didn't learn.

    Photos that were kept smaller than the model takes them are reduced as far ever after: sharper ones are unlike what
    it learned from.
    """
    return dataclasses.replace(
        model.config,
        photo_detail=photo_side if photo_side < model.config.image_size else 0,
        train_text_encoder=False,
        learned_text_layers=len(encoder_layers(model.text_encoder)),
        train_image_encoder=True,
    )


def train_joint(sources: JointSources, config: ValmConfig, training: JointConfig, output: Path, device: str) -> dict:
    """Train and write ``<output>/checkpoint`` and ``<output>/run.json``. Returns what the latter holds."""
    check_model(config)
    place = choose_device(device)
    output.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(training.seed)
    data = joint_data(sources, build_tokenizer(config.text_encoder), config.concepts, training.seed)
    arrays, answers, concepts = data["arrays"], data["answers"], data["concepts"]
    print(f"{len(data['photos'])} photos, {len(arrays['row_text'])} questions, {len(concepts)} concepts")
    paths = [sources.photo_path(photo) for photo in data["photos"]]
    pixels = open_photos(paths, training.photo_side, training.workers)
    model = build_model(dataclasses.replace(config, concepts=len(concepts)), answers, concepts=concepts).to(place)
    if place.type == "cuda":
        torch.backends.cuda.matmul.allow_tf32 = True
        pixels = pixels.to(place)
    batches = JointBatches(arrays, pixels, len(answers), len(concepts), place.type, training.seed)
    question_steps = learn_questions(model, batches, training)
    model, steps, history = learn_together(model, batches, training)
    reconfigure(model, stored_config(model, training.photo_side))
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
    with ending_in_a_line(parser, FloatingPointError, WordNetMissing, yaml.YAMLError):
        sections = read_sections(options.config, parse_overrides(options.settings), SECTIONS)
        data = from_plain_values(JointSources, sections["data"])
        model = from_plain_values(ValmConfig, sections["model"])
        training = from_plain_values(JointConfig, sections["training"])
        run = train_joint(data, model, training, Path(options.output), options.device)
    checkpoint = Path(options.output) / "checkpoint"
    print(
        f"The checkpoint of {run['steps']} steps is in {checkpoint}. Its probabilities aren't calibrated yet. "
        "Next, with questions that it didn't learn from:\n"
        f"    python -m training.calibrate --checkpoint {checkpoint} --data VALIDATION.jsonl\n"
        f"    python -m training.evaluate --checkpoint {checkpoint} --data VALIDATION.jsonl"
    )


if __name__ == "__main__":
    main()
