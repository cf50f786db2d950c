"""The experience library: its entries, its snapshots, its files, and edits by people."""

from flex_dspy.libraries import methods as methods
