"""How a config becomes a model of a task beside answering, on encoders that were built from it."""

from collections.abc import Callable, Sequence

from torch import nn

from valm_core.config import ValmConfig
from valm_core.model.encoders.encoder_layers import encoder_layers
from valm_core.model.encoders.two_encoders import Encoders, TwoEncoders
from valm_core.model.fusion.bi_attention import WordCellSimilarity
from valm_core.model.fusion.families import FUSIONS, layer_sizes
from valm_core.model.fusion.fused_encoders import FusionParts
from valm_core.model.tasks.captioner import CaptionModel
from valm_core.model.tasks.classifier import Classifier
from valm_core.model.tasks.reader import ReadModel
from valm_core.model.tasks.retrieval import RetrievalModel
from valm_core.model.tasks.tagger import TagModel

TEXT_ALONE = "text"  # the `fusion` of a model that sees no photos


def build_retrieval(config: ValmConfig, encoders: Encoders, answers: Sequence[str]) -> RetrievalModel:
    """A model that finds photos; it says no answers."""
    return RetrievalModel(
        encoders,
        width=config.width,
        dropout=config.dropout,
        learned_text_layers=config.learned_text_layers,
    )


def build_captioner(config: ValmConfig, encoders: Encoders, answers: Sequence[str]) -> CaptionModel:
    """A model that describes photos in its vocabulary; it says no answers."""
    return CaptionModel(encoders, vocabulary=config.vocabulary, **layer_sizes(config))


def build_reader(config: ValmConfig, encoders: Encoders, answers: Sequence[str]) -> ReadModel:
    """A model that reads pages; it says no answers. Raises ValueError for a text encoder not of BERT's kind."""
    _check_bert(config, encoders, "reading")
    return ReadModel(encoders, **layer_sizes(config))


def build_classifier(config: ValmConfig, encoders: Encoders, answers: Sequence[str]) -> Classifier:
    """A model that says one of ``answers`` of a text. Raises ValueError for an unknown fusion or unfit labels."""
    return Classifier(
        encoders,
        _fusion_parts(config, encoders),
        answers,
        spans=config.task == "relate",
        dropout=config.dropout,
        cell_side=config.cell_side,
        learned_text_layers=config.learned_text_layers,
    )


def build_tagger(config: ValmConfig, encoders: Encoders, answers: Sequence[str]) -> TagModel:
    """A model that labels words by ``answers``. Raises what the two above do."""
    parts = _fusion_parts(config, encoders)
    _check_bert(config, encoders, "tagging")
    whole = len(encoder_layers(encoders.text_encoder))
    return TagModel(
        encoders,
        parts,
        answers,
        dropout=config.dropout,
        cell_side=config.cell_side,
        learned_text_layers=whole if config.train_text_encoder else config.learned_text_layers,
    )


TASK_MODELS: dict[str, Callable[[ValmConfig, Encoders, Sequence[str]], TwoEncoders]] = {
    "retrieval": build_retrieval,
    "caption": build_captioner,
    "relate": build_classifier,
    "judge": build_classifier,
    "feel": build_classifier,
    "tag": build_tagger,
    "read": build_reader,
}


def _fusion_parts(config: ValmConfig, encoders: Encoders) -> FusionParts:
    """Projections and fusion; seeds give the same model as long as they are built in this order."""
    if config.fusion not in (*FUSIONS, TEXT_ALONE):
        raise ValueError(f"fusion is {config.fusion!r}; allowed: {', '.join((*FUSIONS, TEXT_ALONE))}.")
    text, image = encoders.text_encoder, encoders.image_encoder
    text_projection = nn.Linear(text.width, config.width)
    if config.fusion == TEXT_ALONE:
        return FusionParts(text_projection)
    image_projection = nn.Linear(image.feature_width, config.width)
    fusion = FUSIONS[config.fusion](config)
    similarity = WordCellSimilarity(text.width, image.width, config.width) if config.similarity else None
    return FusionParts(text_projection, image_projection, fusion, similarity)


def _check_bert(config: ValmConfig, encoders: Encoders, doing: str) -> None:
    if not hasattr(encoders.text_encoder.backbone, "embeddings"):
        raise ValueError(f"text_encoder is {config.text_encoder!r}; {doing} needs one of BERT's kind.")
