"""The page's panels below an answer, one a file."""
