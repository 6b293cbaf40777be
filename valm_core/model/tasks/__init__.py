"""The models of the tasks beside answering."""
