"""Implements the commands: each combines a task, models, data and a tracker, and calls the library."""
