"""Adapters for agents outside DSPy: each brings lessons before a model call, and observes the answer after it."""
