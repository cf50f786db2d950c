"""The commands of ``flex-dspy library``. Each takes the library first."""
