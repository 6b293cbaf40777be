"""ValmModel: text encoder + image encoder -> fusion -> answers, and the checkpoint folder it is saved in."""

import copy
import dataclasses
import json
import tempfile
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers.utils import ModelOutput

from valm_core.checkpoints.atomic_files import recover_folder, replace_folder
from valm_core.checkpoints.checks import check_claims, check_files
from valm_core.checkpoints.contents import (
    ANSWERS_FILE,
    CONCEPTS_FILE,
    CONFIG_FILE,
    WEIGHTS_FILE,
    check_fingerprints,
    missing_file,
    write_fingerprints,
)
from valm_core.checkpoints.hub import fetch_checkpoint, push_folder
from valm_core.config import ValmConfig
from valm_core.inputs.photo import photo_to_pixels
from valm_core.inputs.question import QuestionTokenizer
from valm_core.inputs.text import TwiceError, parse_json, read_text
from valm_core.model.concepts import ConceptHead
from valm_core.model.encoder_layers import encoder_layers
from valm_core.model.fusion import FUSIONS, AttentionHead, WordCellSimilarity, heads_of
from valm_core.model.heads import AnswerHead, Glimpses, QuestionHead, calibrated, extended_layer
from valm_core.model.image_encoder import IMAGE_ENCODER_FOLDER, build_image_encoder
from valm_core.model.packages import PACKAGES
from valm_core.model.text_encoder import (
    TEXT_ENCODER_FOLDER,
    TOKENIZER_FOLDER,
    TextEncoder,
    build_text_encoder,
    build_tokenizer,
)
from valm_core.outputs import EncodedImage, EncodedText, FusedFeatures


@dataclass
class ValmOutput(ModelOutput):
    """A forward pass. A ``ModelOutput``, so that accelerate converts mixed-precision outputs back to float32."""

    logits: Tensor | None = None  # [B, A]
    features: FusedFeatures | None = None


class ValmModel(nn.Module):
    """Answers questions about photos out of a fixed list of answers.

    Args:
        config: what to build.
        answers: the answer list, in the order of the logits, as shown to people.
        checkpoint: folder of a saved model, only for ``from_pretrained``: encoders whose weights lie there stay random.
        concepts: names of the concepts to look for, ``config.concepts`` of them.
    """

    mean_image_token: Tensor

    def __init__(
        self, config: ValmConfig, answers: list[str], checkpoint: Path | None = None, concepts: Sequence[str] = ()
    ):
        super().__init__()
        if config.fusion not in FUSIONS:
            raise ValueError(f"fusion is {config.fusion!r}; allowed: {', '.join(FUSIONS)}.")
        if not answers or len(set(answers)) != len(answers):
            raise ValueError("The answer list is empty or has duplicates; give each answer once.")
        if len(set(concepts)) != config.concepts:
            raise ValueError(f"concepts is {config.concepts}, but {len(set(concepts))} different names are given.")
        config = dataclasses.replace(
            config,
            text_encoder_sha256=_checked_sha256(config.text_encoder, config.text_encoder_sha256),
            image_encoder_sha256=_checked_sha256(config.image_encoder, config.image_encoder_sha256),
        )
        self.config = config
        self.answers = list(answers)
        self.concepts = tuple(concepts)

        stored_text = checkpoint if _is_stored(config.text_encoder, config.train_text_encoder) else None
        stored_image = checkpoint if _is_stored(config.image_encoder, config.train_image_encoder) else None
        self.tokenizer = QuestionTokenizer(
            build_tokenizer(config.text_encoder, stored_text), config.max_question_tokens
        )
        self.text_encoder = build_text_encoder(config.text_encoder, stored_text)
        self.image_encoder = build_image_encoder(
            config.image_encoder, config.image_size, stored_image, config.image_stride
        )
        if config.concepts:
            sizes = self.image_encoder.backbone_width, config.concepts, self.text_encoder.width
            self.image_encoder.concept_head = ConceptHead(*sizes)
            if checkpoint is None:  # else about to be loaded
                self.image_encoder.concept_head.embeddings.copy_(self._name_embeddings(self.concepts))
        if config.cell_width:
            self.image_encoder.add_neck(config.cell_width)
        self.text_encoder.requires_grad_(config.train_text_encoder)
        self.image_encoder.requires_grad_(config.train_image_encoder)

        self.text_projection = nn.Linear(self.text_encoder.width, config.width)
        self.image_projection = nn.Linear(self.image_encoder.feature_width, config.width)
        self.image_input_norm = nn.LayerNorm(self.image_encoder.feature_width)
        self.text_norm, self.image_norm = nn.LayerNorm(config.width), nn.LayerNorm(config.width)
        self.dropout = nn.Dropout(config.dropout)
        self.fusion = FUSIONS[config.fusion](config)
        self.similarity = None
        if config.similarity:
            self.similarity = WordCellSimilarity(self.text_encoder.width, self.image_encoder.width, config.width)
        self.question_head, self.glimpses, read = None, None, config.width
        if config.glimpse_width:
            sizes = QuestionHead.HIDDEN, self.image_encoder.width, config.width, config.heads
            self.glimpses = Glimpses(*sizes, config.glimpse_width, config.dropout)
            read = self.glimpses.width
        self.head = AnswerHead(read, len(answers), config.dropout, hidden=2 * config.width)
        if config.question_head:
            self.question_head = QuestionHead(self.text_encoder.width, len(answers), config.dropout)
            for parameter in self.head[-1].parameters():  # the photo adds nothing until something is learned from it
                nn.init.zeros_(parameter)

        # The average image token of the training data: stands in for the whole photo in a blind answer.
        self.register_buffer("mean_image_token", torch.zeros(self.image_encoder.width))

    @property
    def device(self) -> torch.device:
        """Where the parameters are."""
        return self.mean_image_token.device

    def probabilities(self, logits: Tensor, asked: Tensor | None = None) -> Tensor:
        """Calibrated probabilities [.., A] of logits [.., A]; ``asked`` is explained in ``heads.calibrated``."""
        return calibrated(logits, self.answers, self.config.temperature, self.config.yes_no_temperature, asked)

    def train(self, mode: bool = True) -> "ValmModel":
        """Switch to training; what is frozen in encoders and question head keeps dropout and batch statistics off."""
        super().train(mode)
        for part in (self.text_encoder, self.image_encoder, self.question_head):
            if part is not None:
                _train_what_learns(part, mode)
        return self

    def encode_question(self, token_ids: Tensor, mask: Tensor) -> EncodedText:
        """token_ids [B, T], mask [B, T] -> the encoded questions."""
        with torch.set_grad_enabled(torch.is_grad_enabled() and learns(self.text_encoder)):
            return self.text_encoder(token_ids, mask)

    def encode_image(self, pixels: Tensor) -> EncodedImage:
        """pixels [B, 3, S, S] in 0..1 -> the encoded photos; reusable for any number of questions."""
        with torch.set_grad_enabled(torch.is_grad_enabled() and learns(self.image_encoder)):
            return EncodedImage(self.image_encoder(pixels), self.image_encoder.grid)

    def blind_image(self) -> EncodedImage:
        """What stands for an unseen photo: the average token of the training photos, as a grid of one cell."""
        return EncodedImage(self.mean_image_token[None, None], (1, 1))

    def forward(
        self,
        text_mask: Tensor,
        token_ids: Tensor | None = None,
        text_tokens: Tensor | None = None,
        pixels: Tensor | None = None,
        image_tokens: Tensor | None = None,
        photo_index: Tensor | None = None,
        return_attention: bool = False,
        masked_heads: Collection[AttentionHead] = (),
        balanced: Tensor | None = None,
        fixed_prior: bool = False,
    ) -> ValmOutput:
        """Score every answer.

        Each side comes raw or already encoded: give ``token_ids`` [B, T] or ``text_tokens`` [B, T, D_text], and
        ``pixels`` [P, 3, S, S] or ``image_tokens`` [P, N, D_image]; with neither of the last two the photo is
        replaced by the average of the training photos (a blind answer).

        Args:
            text_mask: [B, T], True where a text token is real.
            photo_index: [B], which of the P photos each question is about; None where P = B, one photo a question.
            return_attention: compute all attention explicitly and return it in ``features.attention``.
            masked_heads: attention heads of the fusion that add nothing, each (step, layer, head); steps are the
                fusion's ``STEPS``.
            balanced: [B], see ``heads.QuestionHead``; for training rows of such data alone.
            fixed_prior: give the question head no gradient, so that the photo has to bring what it adds to it.
        """
        if text_tokens is None:
            text_tokens = self.encode_question(token_ids, text_mask).tokens
        grid = self.image_encoder.grid
        if image_tokens is None and pixels is None:
            image_tokens, grid = self.blind_image().tokens, (1, 1)
            photo_index = text_mask.new_zeros(len(text_mask), dtype=torch.long)
        elif image_tokens is None:
            image_tokens = self.encode_image(pixels).tokens
        if photo_index is not None:
            image_tokens = image_tokens[photo_index]  # [P, N, D] -> [B, N, D]
        explicit = return_attention or (self.glimpses is not None and self.similarity is None)
        features = self.fuse(text_tokens, text_mask, image_tokens, grid, explicit, masked_heads)
        logits = self.score(features, text_tokens, text_mask, image_tokens, balanced, masked_heads, fixed_prior)
        return ValmOutput(logits, features if return_attention else dataclasses.replace(features, attention=()))

    def fuse(
        self,
        text_tokens: Tensor,
        text_mask: Tensor,
        image_tokens: Tensor,
        grid: tuple[int, int],
        return_attention: bool = False,
        masked_heads: Collection[AttentionHead] = (),
    ) -> FusedFeatures:
        """Encoder tokens [B, T, D_text], [B, N, D_image] of ``grid`` -> what the fusion makes of them."""
        text, image = self.project(text_tokens, image_tokens)
        if self.similarity is None:
            return self.fusion(text, text_mask, image, grid, return_attention, masked_heads)
        dtype = self.image_projection.weight.dtype
        similarity = self.similarity(text_tokens.to(dtype), image_tokens.to(dtype))  # [B, T, N]
        return self.fusion(text, text_mask, image, grid, return_attention, masked_heads, similarity)

    def score(
        self,
        features: FusedFeatures,
        text_tokens: Tensor,
        text_mask: Tensor,
        image_tokens: Tensor,
        balanced: Tensor | None = None,
        masked_heads: Collection[AttentionHead] = (),
        fixed_prior: bool = False,
    ) -> Tensor:
        """Logits [B, A] of fused features (with attention) and what they were fused from; see ``forward``."""
        if self.question_head is None:
            return self.head(features.fused)
        if balanced is None and self.config.neutral_yes_no:
            balanced = text_tokens.new_full((len(text_tokens),), self.config.neutral_yes_no)
        read, question = features.fused, self.question_head.vector(text_tokens, text_mask, balanced)
        if self.glimpses is not None:
            last = [step for step in features.attention if (step.query, step.key) == ("text", "image")][-1]
            maps, silent = last.weights, heads_of(masked_heads, "text_to_image", last.layer)
            if silent:
                maps = maps.index_fill(1, torch.tensor(silent, device=maps.device), 0.0)
            plain = question if balanced is None else self.question_head.vector(text_tokens, text_mask)
            read = self.glimpses(plain, image_tokens, maps, features.text_pooling, read)
        prior = self.question_head.logits(question)
        return self.head(read) + (prior.detach() if fixed_prior else prior)

    def question_logits(
        self,
        text_mask: Tensor,
        token_ids: Tensor | None = None,
        text_tokens: Tensor | None = None,
        balanced: Tensor | None = None,
    ) -> Tensor:
        """What the question head alone makes of questions: logits [B, A]; arguments as of ``forward``."""
        if text_tokens is None:
            text_tokens = self.encode_question(token_ids, text_mask).tokens
        return self.question_head(text_tokens, text_mask, balanced)

    def project(self, text_tokens: Tensor, image_tokens: Tensor) -> tuple[Tensor, Tensor]:
        """Bring encoder tokens [B, T, D_text] and [B, N, D_image] to the width of the fusion.

        The semantic part of an image token lives in the text encoder's space, so it goes through the text's projection:
        a word and a cell that shows it start out alike.
        """
        image_tokens = image_tokens.to(self.image_projection.weight.dtype)
        text_tokens = text_tokens.to(self.text_projection.weight.dtype)
        appearance = image_tokens[..., : self.image_encoder.feature_width]
        image = self.image_projection(self.image_input_norm(appearance))
        if self.image_encoder.semantic_width:
            image = image + self.text_projection(image_tokens[..., self.image_encoder.feature_width :])
        return self.dropout(self.text_norm(self.text_projection(text_tokens))), self.dropout(self.image_norm(image))

    @torch.no_grad()
    def embed_texts(self, texts: list[str], batch_size: int = 256) -> Tensor:
        """One unit vector [len(texts), D_text] a text, cut where it is too long; the model in evaluation mode.

        Layers that learned what questions ask for no longer say what texts have in common, so a packaged text encoder
        with ``learned_text_layers`` does it as it came.
        """
        encoder = self._embedder()
        batches = (
            self.tokenizer(texts[first : first + batch_size], True) for first in range(0, len(texts), batch_size)
        )
        return torch.cat([encoder.embed(ids.to(self.device), mask.to(self.device)) for ids, mask in batches])

    def _embedder(self) -> TextEncoder:
        """What embeds texts; loaded at the first call where it isn't the text encoder, and no part of the state."""
        if not self.config.learned_text_layers or not self.config.text_encoder.startswith("package:"):
            return self.text_encoder
        if "_pretrained_text_encoder" not in self.__dict__:
            pretrained = build_text_encoder(self.config.text_encoder).requires_grad_(False).eval()
            self.__dict__["_pretrained_text_encoder"] = pretrained
        return self.__dict__["_pretrained_text_encoder"].to(self.device)

    def pixels(self, photo) -> tuple[Tensor, tuple[float, float, float, float]]:
        """An RGB ``PIL.Image`` -> pixels [3, S, S] in 0..1 and the box of the photo they show."""
        return photo_to_pixels(photo, self.config.image_size, self.config.resize)

    @torch.no_grad()
    def _name_embeddings(self, names: Sequence[str]) -> Tensor:
        """Text embeddings [len(names), D_text] of names of things, as long as the encoder's own token vectors."""
        self.text_encoder.eval()
        parts = [self.tokenizer(list(names[first : first + 100])) for first in range(0, len(names), 100)]
        embeddings = torch.cat([self.text_encoder.embed(*part) for part in parts])
        # As exact as a checkpoint in half precision stores it, so that fresh and saved models encode photos alike.
        return (embeddings * self.text_encoder.width**0.5).half().float()

    # ---- checkpoints -------------------------------------------------------------------------------------------------

    def stored_state(self) -> dict[str, Tensor]:
        """What a checkpoint holds: all tensors but those of frozen packaged encoders, which are named by their hash."""
        left_out, kept = [], []
        if not _is_stored(self.config.text_encoder, self.config.train_text_encoder):
            left_out += ["text_encoder."]
            kept = self._learned_text_layers()
        if not _is_stored(self.config.image_encoder, self.config.train_image_encoder):
            left_out += ["image_encoder.backbone."]
        return {
            name: value
            for name, value in self.state_dict().items()
            if name.startswith(tuple(kept)) or not name.startswith(tuple(left_out))
        }

    def _learned_text_layers(self) -> list[str]:
        """How the names of the tensors begin that belong to the last ``learned_text_layers`` of the text encoder."""
        count = self.config.learned_text_layers
        if not count:
            return []
        layers = encoder_layers(self.text_encoder)
        if count > len(layers):
            raise ValueError(f"learned_text_layers is {count}; allowed: 0 to {len(layers)}, as many as there are.")
        names = {module: name for name, module in self.named_modules()}
        return [f"{names[layer]}." for layer in layers[-count:]]

    def save_pretrained(
        self, folder: str | Path, extra_files: dict[str, str] | None = None, half: bool = False
    ) -> None:
        """Write a checkpoint folder; an existing one is replaced as a whole or not at all.

        Args:
            folder: where to write ``config.json``, ``model.safetensors``, ``answers.json`` and, where the encoders
                aren't packaged, their configs and the tokenizer.
            extra_files: further text files by name, e.g. the model card.
            half: store float32 tensors as float16, at half the size.
        """
        with replace_folder(folder) as fresh:
            self.config.to_json(fresh / CONFIG_FILE)
            (fresh / ANSWERS_FILE).write_text(
                json.dumps(self.answers, indent=0, ensure_ascii=False) + "\n", encoding="utf-8"
            )
            if self.concepts:
                (fresh / CONCEPTS_FILE).write_text(json.dumps(self.concepts, indent=0) + "\n", encoding="utf-8")
            state = self.stored_state().items()
            save_file(
                {
                    name: (value.half() if half and value.is_floating_point() else value).contiguous()
                    for name, value in state
                },
                fresh / WEIGHTS_FILE,
            )
            (fresh / WEIGHTS_FILE).chmod(0o644)  # safetensors makes it readable for its owner alone
            if _is_stored(self.config.text_encoder, self.config.train_text_encoder):
                self.text_encoder.backbone.config.save_pretrained(fresh / TEXT_ENCODER_FOLDER)
                self.tokenizer.tokenizer.save_pretrained(fresh / TOKENIZER_FOLDER)
            if self.config.image_encoder.startswith("transformers:"):
                self.image_encoder.backbone.config.save_pretrained(fresh / IMAGE_ENCODER_FOLDER)
            for name, content in (extra_files or {}).items():
                (fresh / name).write_text(content, encoding="utf-8")
            write_fingerprints(fresh)

    def push_to_hub(self, name: str, private: bool = True, card: str | None = None, half: bool = False) -> str:
        """Upload the model to the Hugging Face hub as ``user/model``, and return the commit's address.

        The finished folder of a run has a card with figures: ``checkpoints.hub.push_folder`` uploads it as it is.

        Args:
            name, private: see ``checkpoints.hub.push_folder``.
            card: Markdown with metadata; None writes one that names the parts.
            half: as for ``save_pretrained``.
        """
        with tempfile.TemporaryDirectory() as place:
            folder = Path(place) / "checkpoint"
            self.save_pretrained(folder, {"README.md": card} if card else None, half)
            return push_folder(folder, name, private)

    @classmethod
    def from_pretrained(cls, name: str | Path) -> "ValmModel":
        """Load a checkpoint, ready to answer. Strict: every tensor must be there, none more, each of its shape.

        Args:
            name: its folder, or ``user/model`` on the Hugging Face hub, see ``checkpoints.hub.fetch_checkpoint``.

        Raises:
            FileNotFoundError: a file of the checkpoint is missing, or the hub didn't give it.
            ValueError: the checkpoint doesn't fit the config, or the packaged weights it was trained on, or its files
                were not written together.
        """
        folder = recover_folder(fetch_checkpoint(name))
        if missing := missing_file(folder):
            raise FileNotFoundError(
                f"{folder} is no VALM checkpoint: {missing} is missing. Train one with "
                "`python -m training.train --config training/configs/everyday.yaml`."
            )
        check_files(folder)
        try:
            config = ValmConfig.from_json(folder / CONFIG_FILE)
            answers = parse_json(read_text(folder / ANSWERS_FILE))
            concepts = parse_json(read_text(folder / CONCEPTS_FILE)) if config.concepts else []
        except (json.JSONDecodeError, UnicodeDecodeError, TwiceError) as error:
            raise ValueError(
                f"{folder} is damaged: {CONFIG_FILE} or {ANSWERS_FILE} is no JSON ({error}). Copy the checkpoint again."
            ) from error
        check_claims(folder, config, answers)
        if not isinstance(concepts, list) or not all(isinstance(name, str) for name in concepts):
            raise ValueError(f"{folder / CONCEPTS_FILE} must be a list of texts. Copy the checkpoint again.")
        try:
            model = cls(config, answers, checkpoint=folder, concepts=concepts)
        except (ValueError, OSError):
            raise
        except Exception as error:  # transformers and timm raise many kinds for configs that make no sense
            raise ValueError(f"{folder} names a model that can't be built: {error!r}. Copy it again.") from error
        model.load_stored_state(load_file(folder / WEIGHTS_FILE), str(folder / WEIGHTS_FILE))
        check_fingerprints(folder)  # the last: what is damaged was told more exactly above
        return model.eval()

    def load_stored_state(self, stored: dict[str, Tensor], source: str) -> None:
        """Load what ``stored_state`` gave; half-precision tensors are widened to the model's own.

        Raises:
            ValueError: naming the missing, unexpected or misshapen tensors.
        """
        expected = self.stored_state()
        faults = [f"{name} is missing" for name in expected.keys() - stored.keys()]
        faults += [f"{name} is unexpected" for name in stored.keys() - expected.keys()]
        faults += [
            f"{name} has shape {tuple(stored[name].shape)}, not {tuple(expected[name].shape)}"
            for name in expected.keys() & stored.keys()
            if stored[name].shape != expected[name].shape
        ]
        if faults:
            raise ValueError(
                f"{source} doesn't fit its config: {'; '.join(sorted(faults)[:5])} ({len(faults)} faults)."
            )
        broken = [name for name, value in stored.items() if not value.isfinite().all()]
        if broken:
            raise ValueError(
                f"{source} holds values that are no numbers (NaN or infinite), in {', '.join(sorted(broken)[:5])}. "
                "Take an earlier checkpoint of the run."
            )
        self.load_state_dict(stored, strict=False)


@torch.no_grad()
def extend_answers(model: ValmModel, new_answers: list[str], batch_size: int = 256) -> ValmModel:
    """A copy of a model with a longer answer list.

    The old answers keep their places and their weights to the bit, so their logits stay, but for the rounding of a
    matrix product of another size (the seventh digit). Each new answer starts from the old ones nearest in meaning (by
    text embedding) and with a low bias, see ``heads.extended_layer``: untrained, it hardly ever comes first.

    Args:
        model: without adapters.
        new_answers: as shown to people, in the order of the new logits; none of them in the list yet.
        batch_size: texts embedded at once.

    Raises:
        ValueError: an answer is given twice or is in the list already.
    """
    answers = model.answers + list(new_answers)
    if twice := [answer for place, answer in enumerate(answers) if answer in answers[:place]]:
        raise ValueError(f"{twice[0]!r} would be in the answer list twice; give only answers that it lacks, each once.")
    extended = copy.deepcopy(model)
    if not new_answers:
        return extended
    was_training = extended.training
    extended.eval()
    embedded = extended.embed_texts(answers, batch_size)  # [A + n, D_text]
    old, new = embedded[: len(model.answers)], embedded[len(model.answers) :]
    extended.head[-1] = extended_layer(model.head[-1], new @ old.T)
    if extended.question_head is not None:
        extended.question_head.output = extended_layer(model.question_head.output, new @ old.T)
    extended.answers = answers
    return extended.train(was_training)


def learns(module: nn.Module) -> bool:
    """Whether any parameter of a module is learning."""
    return any(parameter.requires_grad for parameter in module.parameters())


def _train_what_learns(module: nn.Module, mode: bool) -> None:
    """Set training mode where something learns; what has frozen parameters alone stays in evaluation mode."""
    if not learns(module):
        module.eval()
        return
    module.training = mode
    for child in module.children():
        if next(child.parameters(), None) is None:  # dropout, activations: as what they belong to
            child.train(mode)
        else:
            _train_what_learns(child, mode)


def _checked_sha256(source: str, recorded: str) -> str:
    """The sha256 of a packaged encoder ("" for others); it must equal the recorded one where there is one."""
    package = PACKAGES.get(source.removeprefix("package:")) if source.startswith("package:") else None
    current = package.sha256 if package else ""
    if recorded and recorded != current:
        raise ValueError(
            f"The checkpoint was trained on {source} with sha256 {recorded}, but here it is {current or 'unknown'}. "
            "Install the package version that the checkpoint was trained on, or train again."
        )
    return current


def _is_stored(source: str, trained: bool) -> bool:
    """Whether an encoder's weights belong into the checkpoint: all but frozen packaged ones."""
    return trained or not source.startswith("package:")
