"""Runs attempts and evaluations on the workers of a Dask cluster. The results are those of a single process.

    driver                                       worker
    DaskExecutor ── example, commits ──────────> Replica ── snapshot ──> attempt
        ^         <── result, charges ─────────────────────────────────────┘
        └── Line: what each replica lacks

Only the driver orders, settles, commits and publishes. The modules of this package import ``distributed``. The package
itself is imported only when a cluster is used.
"""
