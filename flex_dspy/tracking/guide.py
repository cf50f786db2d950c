"""The descriptions of this project's experiments and registered libraries on MLflow's pages."""

from __future__ import annotations

GUIDE = """\
**Versions of the experience library `{name}`.**

- *Models* (machine learning mode): one row a version. Its name says examples, score and n, such as
  `uspto50k-465ex-acc79_6-n93`. A version's page holds `library.html` (the entries), `diff.html` (against its parent),
  `examples.csv` (each validation example) and `learning_curve.png`.
- *Runs*: one learning run each, with its curve under *Model metrics*; below it one run a version. Runs named
  `eval ...` and `compare ...` measure versions.
- *Model registry*: [`{name}`](#/models/{name}). `@best` is the best version, `@newest` the last one. Tick two versions
  to compare them.
- In Python: `mlflow.pyfunc.load_model("models:/{name}@best")` answers; its `get_raw_model()` is the DSPy program.
  (`mlflow.dspy.load_model` reads pickles alone, and no version has one.) The library is
  `models:/{name}@best/library.json`.
"""


def registry_note(name: str) -> str:
    """The description of a registered library, which says how to load it.

    Args:
        name: The registered name.
    """
    return (
        f"Versions of an experience library. `mlflow.pyfunc.load_model('models:/{name}@best')` answers problems; its "
        "`get_raw_model()` is the DSPy program. `mlflow.dspy.load_model` reads pickles alone, and no version has one."
    )


def guide(name: str) -> str:
    """The description of an experiment, in Markdown.

    Args:
        name: The registered name of its library.
    """
    return GUIDE.format(name=name)
