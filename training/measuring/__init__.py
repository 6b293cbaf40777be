"""Commands that measure a checkpoint beside its accuracy: maps, verdicts, presence, familiarity."""
