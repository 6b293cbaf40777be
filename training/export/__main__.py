"""`python -m training.export`, see command.py."""

from training.export.command import main

main()
