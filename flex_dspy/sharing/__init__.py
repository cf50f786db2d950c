"""Libraries for readers and teams elsewhere: as instructions for agents, at an address, and an audit of what came."""
