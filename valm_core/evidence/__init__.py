"""Can a map be believed? Rules of the verdicts (numpy only), and what measures them on a model."""
