"""`python -m training.export`, see graphs.py."""

from training.export.graphs import main

main()
