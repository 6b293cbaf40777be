"""What the API gives, as records, and their JSON schema: what is served at ``/api/schema.json``."""

import types
import typing
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeAlias, TypedDict

from valm_core.evidence.rules import VERDICTS
from valm_core.familiarity import PARTS
from valm_core.method_names import EVERY_METHOD

DRAFT = "https://json-schema.org/draft/2020-12/schema"

# The types below are shown in the API's documentation; they are what reply_json gives.
if TYPE_CHECKING:  # to mypy, a Literal of what is only known at run time is none
    Method: TypeAlias = str
    Part: TypeAlias = str
    Verdict: TypeAlias = str
else:
    Method = Literal[EVERY_METHOD]
    Part = Literal[PARTS]
    Verdict = Literal[tuple(VERDICTS)]
Probability = Annotated[float, {"minimum": 0, "maximum": 1}]
Share = Annotated[float, {"minimum": 0, "maximum": 1}]
Gate = Annotated[
    float | None,
    {"minimum": 0, "maximum": 1, "description": "share of the question, the photo has the rest; null of open models"},
]
Map = Annotated[list[list[Share]], {"description": "[rows][columns], sums to 1"}]
MapOrNone = Annotated[list[list[Share]] | None, {"description": "[rows][columns], sums to 1; null without a photo"}]


class FileMark(TypedDict):
    """How gradio tells a file from any other object."""

    _type: Literal["gradio.FileData"]


class UploadedPhoto(TypedDict):
    """A file that was uploaded, as gradio_client's ``handle_file`` makes it."""

    path: str
    meta: FileMark


class AnswerShare(TypedDict):
    """An answer and its probability in 0..1."""

    answer: str
    probability: Probability


Box = Annotated[list[Share], {"minItems": 4, "maxItems": 4, "description": "left, top, right, bottom"}]
Words = Annotated[list[int], {"minItems": 2, "maxItems": 2, "description": "first word, end, which is not included"}]


class Page(TypedDict):
    """The words of a page in reading order, their places on it when it is upright, and each one's line."""

    number: int
    pages: int
    words: list[str]
    boxes: list[Box]
    lines: list[int]


class PageRead(TypedDict):
    """What ``read`` gives: an answer among the words of a page."""

    question: str
    answer: str
    probability: Probability
    words: Words
    boxes: list[Box]
    others: list[AnswerShare]
    support: float
    verdict: Verdict
    line_scores: list[float]
    page: Page


class NotRead(TypedDict):
    """Why a page could not be read."""

    error: str


class Answers(TypedDict):
    """What ``answer`` gives."""

    question: str
    answers: list[AnswerShare]
    blind_answers: list[AnswerShare]
    guessed_from_question: bool
    gate: Gate
    kinds: Annotated[dict[str, Probability], {"description": "of each kind of answer"}]
    unfamiliar: list[Part]
    read: PageRead | NotRead | None


class Maps(TypedDict):
    """Where the model looked: W words, maps of rows x columns that sum to 1."""

    method: str
    grid: Annotated[list[int], {"minItems": 2, "maxItems": 2, "description": "rows, columns"}]
    box: Annotated[list[Share], {"minItems": 4, "maxItems": 4, "description": "left, top, right, bottom"}]
    words: list[str]
    word_scores: list[Share]
    image_map: Map
    word_maps: list[Map]
    cells_read_words: list[list[Share]]
    layer_head_maps: dict[str, list]


class BlindAnswer(TypedDict):
    """The answer without the photo, and its probability in 0..1."""

    text: str
    probability: Probability


class MapEvidence(TypedDict):
    """How far the map can be believed, see ``valm_core.outputs.Evidence``."""

    method: str
    answer: str
    probability: Probability
    hidden_shares: list[Share]
    hottest_hidden: list[Probability]
    random_hidden: list[Probability]
    random_draws: int
    blind_answer: BlindAnswer
    same_as_blind: bool
    agreement: Annotated[float, {"minimum": -1, "maximum": 1}]
    evenness: Share
    support: float
    verdict: Verdict
    own_thresholds: Annotated[bool, {"description": "whether the verdict's thresholds were measured on this model"}]


class Explained(Answers):
    """What ``explain`` gives: ``answer``'s reply, the maps and the evidence for them."""

    explanation: Maps
    evidence: MapEvidence
    model: dict[str, str | float]
    valm_version: str


class Written(TypedDict):
    """What ``write`` gives, several times: the answer as far as it is written, at last with its maps."""

    text: str
    explained: Explained | None


class DescribedWord(TypedDict):
    """A word of a description, see ``valm_core.captions.describing``."""

    word: str
    probability: Probability
    support: float
    verdict: Verdict


class Described(TypedDict):
    """What ``describe`` gives: a sentence, and where each of its words was read."""

    description: str
    others: list[str]
    words: list[DescribedWord]
    grid: Annotated[list[int], {"minItems": 2, "maxItems": 2, "description": "rows, columns"}]
    word_maps: list[Map]


class LabelShare(TypedDict):
    """A label and its probability in 0..1."""

    label: str
    probability: Probability


class WordEffect(TypedDict):
    """How a word speaks for the first label, in log-odds."""

    text: str
    effect: float
    verdict: Verdict


class PlacesVerdict(TypedDict):
    """Whether it matters where in the photo the model looked."""

    support: float
    verdict: Verdict


class LabelledText(TypedDict):
    """What ``relate``, ``judge`` and ``feel`` give: labels, and what spoke for the first."""

    labels: list[LabelShare]
    without_photo: list[LabelShare] | None
    words: list[WordEffect]
    marked: list[Words]
    map: MapOrNone
    places_verdict: PlacesVerdict | None


class TaggedSpan(TypedDict):
    """An entity of a sentence: its words, type, probability, and which words spoke for it."""

    first: int
    end: int
    type: str
    text: str
    probability: Probability
    without_itself: Probability
    word_scores: list[float]
    support: float
    verdict: Verdict
    map: MapOrNone
    photo_verdict: Verdict | None


class TaggedText(TypedDict):
    """What ``tag`` gives."""

    words: list[str]
    labels: list[str]
    probabilities: list[Probability]
    spans: list[TaggedSpan]


class KnownWrong(TypedDict):
    """A question that the model is known to answer wrongly, and the right answer."""

    question: str
    expected: str


class PackagedExample(TypedDict):
    """A packaged photo and questions about it."""

    title: str
    photo: UploadedPhoto
    questions: list[str]
    known_wrong: KnownWrong | None


class FoundPhoto(TypedDict):
    """A photo of the server's collection that fits: the higher its score the better."""

    photo: Annotated[str, {"description": "its name under the collection's folder"}]
    score: float
    found_share: Annotated[
        float | None,
        {"description": "how often the photo meant comes first when the best score is like this one; null: unknown"},
    ]


class Refusal(TypedDict):
    """What comes in place of a reply: ``error`` says what is wrong, what is allowed and the remedy."""

    error: str


REPLIES = {
    "answer": Answers,
    "explain": Explained,
    "write": Written,
    "describe": Described,
    "examples": list[PackagedExample],
    "find": list[FoundPhoto],
    "tag": TaggedText,
    "relate": LabelledText,
    "judge": LabelledText,
    "feel": LabelledText,
    "read": PageRead,
    "error": Refusal,
}


def replies_schema() -> dict[str, Any]:
    """The JSON schema of all replies under ``$defs``, by endpoint, and "error" for a refusal."""
    definitions = {name: schema_of(record) for name, record in REPLIES.items()}
    return {"$schema": DRAFT, "title": "Replies of VALM", "$defs": definitions}


def schema_of(documented: Any) -> dict[str, Any]:
    """The JSON schema of a record or of the type of one of its fields.

    Args:
        documented: a TypedDict, Annotated with keywords of JSON schema, Literal, list, dict, a union, or a plain type.
    """
    kind, inner = typing.get_origin(documented) or documented, typing.get_args(documented)
    if kind is Annotated:
        return schema_of(inner[0]) | inner[1]
    if typing.is_typeddict(kind):
        fields = typing.get_type_hints(kind, include_extras=True)
        # gradio adds fields of its own to files and errors.
        more = kind in (UploadedPhoto, Refusal)
        return {
            "type": "object",
            "description": (kind.__doc__ or "").partition("\n")[0].replace("``", ""),
            "properties": {name: schema_of(field) for name, field in fields.items()},
            "required": list(fields),
            "additionalProperties": more,
        }
    if kind is Literal:
        return {"enum": list(inner)}
    if kind in (types.UnionType, typing.Union):
        return {"anyOf": [schema_of(option) for option in inner]}
    if kind is list:
        return {"type": "array"} | ({"items": schema_of(inner[0])} if inner else {})
    if kind is dict:
        return {"type": "object"} | ({"additionalProperties": schema_of(inner[1])} if inner else {})
    return {"type": {str: "string", int: "integer", float: "number", bool: "boolean", type(None): "null"}[kind]}
