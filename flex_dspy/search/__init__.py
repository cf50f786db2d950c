"""Bringing fitting experiences back: indexes, views, fusion, and the block in the prompt."""
