"""People's corrections as training data, and what a model learns from them."""
