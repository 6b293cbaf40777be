"""How a model learns: the loop, its losses, pretraining, and which parts change."""
