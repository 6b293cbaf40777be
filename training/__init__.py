"""Commands to train, measure and export, and the readers of data sets. Never imports demo."""

from valm_core.printing import print_what_can_be_shown

print_what_can_be_shown()
