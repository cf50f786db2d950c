"""Loaders for files and hub ids, and the small data sets that the project generates and ships."""
