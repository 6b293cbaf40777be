"""Studies over several runs: variants side by side, baselines, DAQUAR, a search for settings."""
