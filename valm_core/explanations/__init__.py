"""Explanation methods: each says where the model looked, as an ``Explanation``. One method a file.

Every method takes a model in evaluation mode, one encoded question of T tokens without padding, one encoded photo of N
tokens, the place of the answer to explain in the model's list (a ValueError where it is outside), and perhaps the
``Trace`` of just these, so that it need not be made again. It returns an explanation whose T tokens are unnamed word
pieces.
"""

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
