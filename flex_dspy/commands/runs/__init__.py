"""The commands of ``flex-dspy runs``."""
