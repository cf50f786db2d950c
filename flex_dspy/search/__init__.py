"""Retrieval of fitting experiences: indexes, views, fusion, and the block in the prompt."""
