"""`python -m training.corrections`, see manage.py."""

from training.corrections.manage import main

main()
