"""Learning in deployment: observations kept on the disk, learned from in the background."""
