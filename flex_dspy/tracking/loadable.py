"""A version as a model that MLflow can load: ``mlflow.pyfunc.load_model("models:/NAME@best")``.

Its files are ``library.json``, the library, and ``program.json``, the program that was measured with it. Loading reads
both files as data and builds the program from them; it executes nothing that they hold.

``mlflow.dspy.load_model`` cannot load it: that function reads only pickles, and this package writes none.
``mlflow.pyfunc.load_model(...).get_raw_model()`` is the DSPy program.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dspy

from flex_dspy.learning.program_description import Description, build_program
from flex_dspy.learning.version import Version
from flex_dspy.libraries.library import ExperienceLibrary
from flex_dspy.libraries.locations import LIBRARY_FILE

if TYPE_CHECKING:
    from mlflow.models import Model, ModelSignature

PROGRAM, REQUIREMENTS = "program.json", "requirements.txt"
_PACKAGES = ("flex-dspy", "dspy", "mlflow")


class LoadedVersion:
    """A loaded version with the interface that MLflow's pyfunc flavour expects.

    Args:
        description: The program; see ``flex_dspy.learning.program_description``.
        library: The library.
    """

    def __init__(self, description: Description, library: ExperienceLibrary) -> None:
        self.description = description
        self.model = build_program(description, library)

    def get_raw_model(self) -> dspy.Module:
        """The program that reads the library; MLflow's ``PyFuncModel.get_raw_model`` returns it."""
        return self.model

    def predict(self, model_input: Any, params: Mapping[str, Any] | None = None) -> Any:
        """Answer problems with the version's program.

        Args:
            model_input: One problem as a mapping of the input fields, or several as a data frame.
            params: Unused; MLflow passes it.

        Returns:
            The output fields: a mapping for one problem, a list of mappings for a data frame.
        """
        if isinstance(model_input, Mapping):
            return self._answer(model_input)
        return [self._answer(row) for row in model_input.to_dict(orient="records")]

    def _answer(self, problem: Mapping[str, Any]) -> dict[str, Any]:
        answer = self.model(**{name: problem[name] for name in self.description["inputs"]})
        return {name: answer[name] for name in self.description["outputs"]}


def _load_pyfunc(path: str) -> LoadedVersion:
    """Load the version in a folder; MLflow's pyfunc flavour calls this function by its name."""
    folder = Path(path)
    library = ExperienceLibrary.from_json((folder / LIBRARY_FILE).read_bytes(), str(folder / LIBRARY_FILE))
    return LoadedVersion(json.loads((folder / PROGRAM).read_text(encoding="utf-8")), library)


def write_model(folder: Path, version: Version, model_id: str) -> None:
    """Write the files that make a version's folder an MLflow model. ``library.json`` must exist already.

    Args:
        folder: The folder.
        version: The version; if it does not describe its program, nothing is written.
        model_id: MLflow's id of the logged model.
    """
    if not version.program:
        return
    (folder / PROGRAM).write_text(json.dumps(version.program, indent=2), encoding="utf-8")
    # Only the main packages, because these name their own requirements.
    requirements = [f"{name}=={metadata.version(name)}" for name in _PACKAGES]
    (folder / REQUIREMENTS).write_text("\n".join(requirements) + "\n", encoding="utf-8")
    model = _model(version.program, model_id)
    _add_example(model, folder, version)
    model.save(str(folder / "MLmodel"))


def _model(program: Description, model_id: str) -> Model:
    from mlflow import pyfunc
    from mlflow.models import Model

    model = Model(model_id=model_id, signature=signature_of(program))
    pyfunc.add_to_model(model, loader_module=__name__)
    return model


def signature_of(program: Description) -> ModelSignature:
    """The signature of a described program, for MLflow."""
    from mlflow.models import ModelSignature
    from mlflow.types.schema import Array, ColSpec, DataType, Schema

    types = {"int": DataType.long, "float": DataType.double, "bool": DataType.boolean}
    types["list[str]"] = Array(DataType.string)

    def schema(fields: Mapping[str, Any]) -> Schema:
        return Schema([ColSpec(types.get(str(each["type"]), DataType.string), name) for name, each in fields.items()])

    return ModelSignature(schema(program["inputs"]), schema(program["outputs"]))


def _add_example(model: Model, folder: Path, version: Version) -> None:
    """Add the first validation problem, without its answer, as the input example."""
    from mlflow.models.utils import _save_example  # ``Model.log`` calls it; there is no public function

    inputs = next((record.inputs for record in version.records if record.inputs), {})
    names = version.program["inputs"]
    if all(name in inputs for name in names):
        _save_example(model, {name: inputs[name] for name in names}, str(folder))
