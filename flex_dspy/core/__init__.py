"""The lowest layer: errors, texts, examples, trajectories, scores, and running code."""
