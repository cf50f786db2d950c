"""Instructions of the roles as prompts of MLflow's registry. A version names the prompts that it was learned with."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from flex_dspy.data.loading import content_id

LINKED_PROMPTS = "mlflow.linkedPrompts"  # MLflow's own tag on models and runs
_DIGEST = "flex_dspy.digest"
_IS_PROMPT = "mlflow.prompt.is_prompt"
_EXPERIMENTS = "_mlflow_experiment_ids"  # tag of a prompt: the experiments whose pages list it


def register_prompts(client: Any, name: str, instructions: Mapping[str, str], experiment_id: str) -> str:
    """Register new instructions as prompts. Instructions that the registry already has are not registered again.

    Args:
        client: The store's client.
        name: Name of the registered library; the prompt of a role is named ``NAME-ROLE``.
        instructions: Instructions by role.
        experiment_id: The experiment whose page lists the prompts.

    Returns:
        The value of MLflow's tag that names the prompts of a model or a run; "" if there are none.
    """
    linked = []
    for role, text in sorted(instructions.items()):
        prompt = f"{name}-{role}"
        version = _find(client, prompt, text) or _register(client, prompt, text, experiment_id)
        linked.append({"name": prompt, "version": version})
    return json.dumps(linked) if linked else ""


def _find(client: Any, prompt: str, text: str) -> str | None:
    """The version of a prompt that has this text; None if there is none."""
    wanted = f"name = '{prompt}' AND tags.`{_IS_PROMPT}` = 'true' AND tags.`{_DIGEST}` = '{content_id(text)}'"
    found = client.search_model_versions(wanted, max_results=1)
    return str(found[0].version) if found else None


def _register(client: Any, prompt: str, text: str, experiment_id: str) -> str:
    # Not ``register_prompt``, because it asks for the experiment of the process's own store, which may be another.
    if client.get_prompt(prompt) is None:
        client.create_prompt(prompt, tags={_EXPERIMENTS: f",{experiment_id},"})
    return str(client.create_prompt_version(prompt, text, tags={_DIGEST: content_id(text)}).version)
