"""ValmConfig: every choice that shapes a model, in one flat, frozen record that goes to and from JSON."""

import dataclasses
import difflib
import json
import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from valm_core.inputs.text import parse_json, read_text

MIN_TEMPERATURE = 1e-3  # far below it logits divided by it are no numbers any more
ABOVE_0, BELOW_1 = math.nextafter(0, 1), math.nextafter(1, 0)  # ends of a range without 0, or without 1
# What may change while the weights stay, and changes what comes out.
CHANGEABLE_SETTINGS = (
    *("image_size", "photo_detail", "max_question_tokens"),
    *("temperature", "yes_no_temperature", "neutral_yes_no"),
)
# Settings that are gone, with the one value that is left: files with it are read, with another they are refused.
REMOVED_SETTINGS: dict[str, object] = {"resize": "squash", "gate": "adaptive", "momentum": 0.9}
TASKS = ("answer", "retrieval", "caption", "tag", "relate", "judge", "feel", "read")
LABELLED_TASKS = ("answer", "tag", "relate", "judge", "feel")  # whose model has a list of answers or labels


@dataclass(frozen=True)
class ValmConfig:
    """What a VALM model is made of. Checked on construction.

    Args:
        task: what the model is for: ``answer`` questions about photos, or one of ``valm_core.model.tasks``:
            ``retrieval`` of photos by words and of words by photos has encoders, width and dropout, and no fusion;
            ``caption`` has an image encoder with a decoder of ``layers`` and ``heads``. The others stand on
            ``valm_core.model.fusion.fused_encoders``: ``tag`` words, ``relate`` two marked parts of a text, ``judge`` a
            statement by its photo, ``feel`` the mood of a post, ``read`` a document.
        text_encoder: ``package:all-minilm-l6-v2``, or ``transformers:NAME`` with a hub name or folder of a text model.
        image_encoder: ``package:efficientnet-lite0``, ``package:efficientnet-lite2``, ``torchvision:NAME``,
            ``timm:NAME`` or ``transformers:NAME``.
        image_size: side in pixels of the square that the image encoder sees: the whole photo, whatever its ratio.
        photo_detail: side of the square that photos are reduced to before, so that the image encoder is shown nothing
            finer than what it learned from; 0 for none.
        image_stride: pixels of the square a cell stands for, where the image encoder lets one choose (packaged
            EfficientNets): 32, or 16 with the last stage dilated in place of strided (four times the cells).
        cell_width: size of the features that a cell is reduced to; 0 leaves them as the image encoder gives them.
        cell_side: rows and columns of cells that the fusion reads at most, neighbours being averaged; 0 for all. For
            models on ``FusedEncoders``.
        concepts: how many concepts a ``ConceptHead`` looks for in every cell; 0 for none. Their names lie in the
            checkpoint, and what they mean joins each cell as an embedding of the text encoder.
        similarity: in bi-attention, words read first where cells resemble them: ``bi_attention.WordCellSimilarity``.
        train_text_encoder, train_image_encoder: whether the encoder learns along with the fusion, or has learned; the
            checkpoint then holds its weights. Which of its parts learn is up to ``valm_core.learning.fine_tuning``.
        learned_text_layers: where not the whole text encoder has learned but only its last layers, how many; the
            checkpoint then holds these alone.
        question_head: add to the answers' logits what the question alone makes likely, see ``heads.QuestionHead``.
        glimpse_width: size of the cells' features that the words gather for the answer head by the last text-to-image
            attention, see ``heads.Glimpses``; 0 for none. For bi-attention with a question head.
        fusion: one of ``model.fusion.families.FUSIONS``; or ``text`` for no photos, where the task allows it.
        product: in bi-attention, also multiply the text's vector with the image's; dual towers always do.
        width, layers, heads, feed_forward_ratio: size of the fusion.
        dropout: probability, 0..1, in fusion and head.
        max_question_tokens: longest question or caption, special tokens included.
        vocabulary: how many word pieces a caption can be made of; 0 for other tasks.
        temperature: divides the logits before the softmax, fitted on validation data (Guo et al. 2017,
            https://arxiv.org/abs/1706.04599).
        yes_no_temperature: takes its place where "yes" or "no" is likeliest; 0 for the same one.
        neutral_yes_no: how far the question head takes yes/no questions for balanced ones, 0..1, see
            ``heads.QuestionHead``: at 1 neither answer is likelier before the photo is seen.
        text_encoder_sha256, image_encoder_sha256: of the packaged weights that the model was trained on.
        image_encoder_of, image_encoder_of_sha256: folder of a checkpoint whose image encoder this model shares, and its
            hash: a checkpoint then stores none, see ``valm_core.checkpoints.shared``. Empty for its own.

    Raises:
        ValueError: a value is outside what is allowed; the message names the value, what is allowed and the remedy.
    """

    task: str = "answer"
    text_encoder: str = "package:all-minilm-l6-v2"
    image_encoder: str = "package:efficientnet-lite0"
    image_size: int = 224
    photo_detail: int = 0
    image_stride: int = 32
    cell_width: int = 0
    cell_side: int = 0
    concepts: int = 0
    similarity: bool = False
    train_text_encoder: bool = False
    train_image_encoder: bool = False
    learned_text_layers: int = 0
    question_head: bool = False
    glimpse_width: int = 0
    fusion: str = "bi_attention"
    product: bool = False
    width: int = 256
    layers: int = 2
    heads: int = 4
    feed_forward_ratio: float = 2.0
    dropout: float = 0.2
    max_question_tokens: int = 32
    vocabulary: int = 0
    temperature: float = 1.0
    yes_no_temperature: float = 0.0
    neutral_yes_no: float = 0.0
    text_encoder_sha256: str = ""
    image_encoder_sha256: str = ""
    image_encoder_of: str = ""
    image_encoder_of_sha256: str = ""

    def __post_init__(self) -> None:
        check_numbers(
            self,
            image_size=(1, 1024),
            photo_detail=(0, 1024),
            cell_width=(0, 4096),
            cell_side=(0, 64),
            concepts=(0, 20_000),
            learned_text_layers=(0, math.inf),
            glimpse_width=(0, 4096),
            width=(1, 4096),
            layers=(1, 64),
            heads=(1, math.inf),
            feed_forward_ratio=(ABOVE_0, 16),
            dropout=(0, BELOW_1),
            max_question_tokens=(4, 512),
            vocabulary=(0, 1_000_000),
            temperature=(MIN_TEMPERATURE, math.inf),
            yes_no_temperature=(0, math.inf),
            neutral_yes_no=(0, 1),
        )
        check_choices(self, task=TASKS, image_stride=(16, 32))
        fair = not 0 < self.yes_no_temperature < MIN_TEMPERATURE
        _require(self, "yes_no_temperature", fair, f"0, or a number from {MIN_TEMPERATURE}")
        _require(self, "heads", self.width % self.heads == 0, f"a divisor of the width {self.width}")
        _require(self, "width", self.width % 4 == 0, "a multiple of 4 (for 2-D positions)")
        co_attention, alone = self.fusion == "bi_attention", not self.train_text_encoder
        _require(self, "similarity", not self.similarity or co_attention, "false but for `fusion: bi_attention`")
        _require(
            self, "learned_text_layers", not self.learned_text_layers or alone, "0 where `train_text_encoder` is true"
        )
        _require(
            self,
            "glimpse_width",
            not self.glimpse_width or (self.question_head and co_attention),
            "0 but for `fusion: bi_attention` with `question_head: true`",
        )
        own = not (self.image_encoder_of and self.train_image_encoder)
        _require(self, "image_encoder_of", own, "empty where `train_image_encoder` is true")

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "ValmConfig":
        """Build from plain values, refusing unknown names and values of the wrong type."""
        return from_plain_values(cls, values)

    @classmethod
    def from_json(cls, path: str | Path) -> "ValmConfig":
        """Read the file that ``to_json`` wrote."""
        return cls.from_dict(parse_json(read_text(path)))

    def to_json(self, path: str | Path) -> None:
        """Write all values, one a line."""
        Path(path).write_text(json.dumps(dataclasses.asdict(self), indent=2) + "\n", encoding="utf-8")


def from_plain_values(config_class: type, values: dict[str, Any]) -> Any:
    """Build a flat config dataclass out of values read from JSON, YAML or the command line.

    Raises:
        ValueError: a name that the dataclass doesn't have (the nearest one is suggested), a removed setting with a
            value that is gone, a value of another type, or no value for a name without default.
    """
    if not isinstance(values, dict):
        raise ValueError(f"{config_class.__name__} needs names with values, not a {type(values).__name__}.")
    fields = {field.name: field for field in dataclasses.fields(config_class)}
    checked = {}
    for name, value in without_removed(values).items():
        if name not in fields:
            near = difflib.get_close_matches(name, fields, n=1)
            hint = f"Did you mean `{near[0]}`?" if near else f"Known names: {', '.join(fields)}."
            if name in REMOVED_SETTINGS:
                hint = f"It is gone; only {REMOVED_SETTINGS[name]!r} is left, not {value!r}. Leave it out."
            raise ValueError(f"{config_class.__name__} has no setting `{name}`. {hint}")
        expected: Any = fields[name].type
        if expected is float and isinstance(value, int) and not isinstance(value, bool):
            value = float(value)
        if expected is str and value is False:
            value = "no"  # which YAML takes for false
        if not isinstance(value, expected) or (isinstance(value, bool) and expected is not bool):
            raise ValueError(
                f"{config_class.__name__}.{name} is {value!r}; a value of type {expected.__name__} is needed."
            )
        checked[name] = value
    needed = (dataclasses.MISSING, dataclasses.MISSING)
    required = [name for name, field in fields.items() if (field.default, field.default_factory) == needed]
    if missing := [name for name in required if name not in checked]:
        raise ValueError(f"{config_class.__name__} needs a value for {', '.join(f'`{name}`' for name in missing)}.")
    return config_class(**checked)


def without_removed(values: Mapping[str, Any]) -> dict[str, Any]:
    """The settings without those of ``REMOVED_SETTINGS`` that have the value which is left."""
    left = object()
    return {name: value for name, value in values.items() if REMOVED_SETTINGS.get(name, left) != value}


def check_numbers(config: object, **ranges: tuple[float, float]) -> None:
    """Refuse a setting outside of its range, both ends allowed; infinity and no number are always refused.

    Raises:
        ValueError: the message names the setting, its value and what is allowed.
    """
    for name, (least, most) in ranges.items():
        begin = "above 0" if least == ABOVE_0 else f"from {least}"
        end = "" if most == math.inf else " to below 1" if most == BELOW_1 else f" to {most}"
        value = getattr(config, name)
        finite = isinstance(value, int) or math.isfinite(value)  # an integer may be too long for a float
        _require(config, name, finite and least <= value <= most, f"a {'' if finite else 'finite '}number {begin}{end}")


def check_choices(config: object, **allowed: Collection[object]) -> None:
    """Refuse a setting that isn't one of those allowed. Raises ValueError as ``check_numbers`` does."""
    for name, values in allowed.items():
        listed = ", ".join(str(value) or '""' for value in values)
        _require(config, name, getattr(config, name) in values, listed)


def _require(config: object, name: str, holds: bool, allowed: str) -> None:
    if not holds:
        raise ValueError(f"{name} is {getattr(config, name)!r}; allowed: {allowed}. Change `{name}` in the config.")
