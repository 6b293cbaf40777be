"""Joint training's parts: its settings, its batches, the terms of its loss. The command is `training.train_joint`."""
