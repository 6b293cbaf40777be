"""The page's answers in a terminal, and commands that try the page."""
