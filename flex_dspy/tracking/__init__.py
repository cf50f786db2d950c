"""Published versions in MLflow: logging, registration, evaluations and traces."""
