"""Between the network and the page: the API, limits, ending, borrowed GPUs."""
