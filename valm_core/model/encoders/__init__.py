"""What reads texts and photos: encoders of any kind reduced to what VALM needs, and what they share."""
