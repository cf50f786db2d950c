"""Runs attempts and evaluations on the workers of a Dask cluster, with the results of one process.

    driver                                       worker
    DaskExecutor ── example, commits ──────────> Replica ── snapshot ──> attempt
        ^         <── result, charges ─────────────────────────────────────┘
        └── Line: what each replica lacks

The driver alone orders, settles, commits and publishes. ``distributed`` is imported by the modules of this package, and
this package is imported only where a cluster is asked for.
"""
