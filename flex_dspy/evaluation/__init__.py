"""How well a program does, how sure that is, and what each entry adds to it."""
