"""A package, so that one browser and one page can serve all tests in it and end with the last of them."""
