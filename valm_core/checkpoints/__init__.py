"""Checkpoint folders: written whole or not at all, checked, fetched, pushed, described."""
