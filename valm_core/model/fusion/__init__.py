"""The fusion families, one a file, listed in ``families``; what they share is in ``streams`` and ``attention``."""
