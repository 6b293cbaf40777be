"""Explanation methods: each says where the model looked, as an ``Explanation``. One method a file."""

from valm_core.explanations.attention_rollout import attention_rollout
from valm_core.explanations.controls import center, random
from valm_core.explanations.grad_cam import grad_cam
from valm_core.explanations.gradient_relevancy import gradient_relevancy
from valm_core.explanations.occlusion import occlusion
from valm_core.explanations.raw_attention import raw_attention

EXPLANATION_METHODS = {
    "raw_attention": raw_attention,
    "attention_rollout": attention_rollout,
    "grad_cam": grad_cam,
    "gradient_relevancy": gradient_relevancy,
    "occlusion": occlusion,
    "random": random,
    "center": center,
}
CONTROLS = ("random", "center")  # know nothing of the model: for measuring, not for looking
# Their map isn't made of heads: what an ``Explanation`` of them holds by layer and head is the raw attention instead.
WITHOUT_HEADS = ("attention_rollout", "occlusion", *CONTROLS)
DEFAULT_METHOD = "grad_cam"  # chosen by docs/reports/maps/faithfulness.md
