"""Open vision-language models of transformers behind the same ``Predictor`` as VALM's own: answers, maps, evidence."""
