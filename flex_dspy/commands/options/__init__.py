"""The options of the commands as frozen dataclasses: the docstring of a field is its help."""
