"""Time and memory beside other models, and how fast a config trains."""
