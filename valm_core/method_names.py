"""The names of the explanation methods, for whoever needs no method itself: reading them loads no torch."""

CONTROLS = ("random", "center")  # know nothing of the model: for measuring, not for looking
METHOD_NAMES = (
    "raw_attention",
    "attention_rollout",
    "grad_cam",
    "gradient_relevancy",
    "occlusion",
    *CONTROLS,
)
# Their map isn't made of heads: what an ``Explanation`` of them holds by layer and head is the raw attention instead.
WITHOUT_HEADS = ("attention_rollout", "occlusion", *CONTROLS)
OPEN_MODEL_METHOD = "relative_attention"  # what only open models have
EVERY_METHOD = (*METHOD_NAMES, OPEN_MODEL_METHOD)
DEFAULT_METHOD = "grad_cam"  # chosen by docs/reports/maps/faithfulness.md
