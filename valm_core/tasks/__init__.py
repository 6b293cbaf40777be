"""What checkpoints for tasks beside answering, finding and describing do outside training, and why they say it."""
