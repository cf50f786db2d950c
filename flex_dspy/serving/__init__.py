"""A library for agents outside DSPy: an MCP server."""
