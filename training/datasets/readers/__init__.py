"""One reader a file format: each turns it into rows, or says which line is at fault."""
