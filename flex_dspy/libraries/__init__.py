"""Experiences and the library that they make: snapshot, file, store, and what people do with them."""

from flex_dspy.libraries import methods as methods
