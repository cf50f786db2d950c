"""Measures programs, compares them, and measures the value of each entry of a library."""
