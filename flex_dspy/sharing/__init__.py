"""Shares libraries: exports them as instructions for agents, pushes and pulls them, and audits pulled ones."""
