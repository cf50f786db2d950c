"""What everything stands on: errors, texts, examples, trajectories, scores, and running code."""
