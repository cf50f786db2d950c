"""Task families: each ties a signature, a metric, a loader and an offline expert."""
