"""Adapters for agents outside DSPy. Each adds lessons before a model call and observes the answer after it."""
