"""Behind the page More: the models for other tasks than answering, and what they say as HTML."""
