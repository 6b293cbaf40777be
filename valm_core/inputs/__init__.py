"""Everything that people send, checked and in one normal form: photos, questions, text."""
