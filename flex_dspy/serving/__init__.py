"""Serves a library to agents outside DSPy, as an MCP server."""
