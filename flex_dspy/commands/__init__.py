"""What the commands do, one file a command: put a task, models, data and a tracker together, and call the library."""
