"""Learning a library: from a training set, or from what a deployed program does."""
