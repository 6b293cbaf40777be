"""Tasks beside answering, one a file: what a run trains, what it measures, what its model card says."""
