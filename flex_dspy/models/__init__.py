"""Language models: by name, within limits and a budget, and what they cost."""
