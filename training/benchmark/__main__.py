"""`python -m training.benchmark`, see compare_models.py."""

from training.benchmark.compare_models import main

main()
