"""The model: encoders, attention, fusion, heads, and how a config becomes one. Knows no checkpoint folders."""
