"""The parts of ``bench_language_model``: the tasks, the methods, and what becomes of their answers."""
