"""Published versions: the log beside a library, its learning curve, and MLflow."""
