"""Where to find things on MLflow's pages: the description of an experiment of this project."""

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
- In Python: `mlflow.pyfunc.load_model("models:/{name}@best")`; the library is
  `models:/{name}@best/library.json`.
"""


def guide(name: str) -> str:
    """The description of an experiment, in Markdown.

    Args:
        name: The registered name of its library.
    """
    return GUIDE.format(name=name)
