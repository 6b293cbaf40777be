"""Answers and maps from an exported model, without torch or transformers."""
