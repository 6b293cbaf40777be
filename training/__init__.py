"""Commands to train, measure and export, and the readers of data sets. Never imports demo."""

from valm_core.commands import give_short_names, print_what_can_be_shown

# `python -m training.NAME` for the commands that lie in rooms; those of a room's own name are its __main__.py.
SHORT_NAMES = {
    "compare": "experiments.compare",
    "daquar": "experiments.daquar",
    "evidence": "measuring.evidence",
    "faithfulness": "measuring.faithfulness",
    "familiarity": "measuring.familiarity",
    "matching": "experiments.matching",
    "modalities": "experiments.modalities",
    "feedback": "corrections.manage",
    "open_model_maps": "benchmark.open_model_maps",
    "pointing": "measuring.pointing",
    "presence": "measuring.presence",
    "reranking": "measuring.reranking",
    "scale": "benchmark.scale",
    "search": "experiments.search",
    "search_speed": "benchmark.search_speed",
    "training_speed": "benchmark.training_speed",
    "word_maps": "measuring.word_maps",
}

print_what_can_be_shown()
give_short_names(__name__, SHORT_NAMES)
