"""The question on the page to take away: figures, numbers, a report."""
