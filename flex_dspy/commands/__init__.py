"""The commands, one typed function a file: its signature is the command line, its docstring the help.

    options    the options as frozen dataclasses
    actions    the work, which imports what takes seconds
    library    the commands of ``flex-dspy library``
    runs       the commands of ``flex-dspy runs``

Nothing heavy is imported at the top, so that ``--help`` is quick. A command checks its paths and hands over to its
module of ``actions``; that import inside the function is the only one of its kind.
"""
