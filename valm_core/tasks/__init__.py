"""Tasks beside answering, as they run outside training: labels of texts and photos with their probabilities and why."""
