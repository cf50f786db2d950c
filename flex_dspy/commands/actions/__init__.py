"""The work of the commands: put a task, models, data and a tracker together, and call the library."""
