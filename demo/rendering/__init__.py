"""What the page draws: maps over photos, numbers in words, colours and type."""
