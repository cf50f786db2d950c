"""Data sets: loaders for files and hub ids, and the small sets that the project generates and ships."""
