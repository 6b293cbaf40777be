"""People's corrections: in one SQLite file, and in a dataset repository of the hub."""
