"""Language models: creation by name, rate limits, budgets and prices."""
