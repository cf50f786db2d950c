"""Learning a library: from a training set, or from the answers of a deployed program.

One pipeline does both. To follow a training example, read in this order:

1. ``forward``: ``ForwardLearning.compile``, the front end.
2. ``forward_run``: fills the four ports, ``ForwardRun.learn``.
3. ``pipeline``: ``Pipeline.run``; begins attempts, settles and commits in order, publishes versions.
4. ``attempts``: ``TrainingAttempt``; rejection sampling, then lessons.
5. ``flex_dspy.programs.lesson_writer``: critic and updater, ``propose`` and ``settle``.
6. ``flex_dspy.libraries.store``: ``LibraryStore.commit``.

An observation takes ``online``, ``background``, ``pipeline``, ``observations`` and the last two.
"""
