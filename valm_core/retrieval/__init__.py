"""Finding photos by words and words by photos with a trained retrieval model."""
