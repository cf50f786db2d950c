"""Writes to the Hugging Face hub: all files of a library in one commit."""

from __future__ import annotations

from collections.abc import Mapping

from huggingface_hub import CommitOperationAdd, HfApi

from flex_dspy.sharing.addresses import Address, Repository, hub_endpoint


def commit_files(address: Address, files: Mapping[str, bytes], message: str, *, is_public: bool) -> str:
    """Put files into a repository as one commit. Create the repository if it does not exist.

    The login is the one of the hub's own client: ``HF_TOKEN``, or ``hf auth login``.

    Args:
        address: An ``hf://`` address.
        files: Content by name.
        message: The commit's message.
        is_public: Whether everybody may read a repository that this call creates.

    Returns:
        The commit's id.

    Raises:
        ConfigurationError: If the address names no repository.
        RemoteError: If the hub cannot be reached, or refuses the commit.
    """
    repository = Repository.of(address)
    api = HfApi(endpoint=hub_endpoint(), library_name="flex-dspy")
    operations = [CommitOperationAdd(repository.folder + name, data) for name, data in files.items()]
    with address.report_errors("write"):
        api.create_repo(repository.name, repo_type=repository.kind, private=not is_public, exist_ok=True)
        commit = api.create_commit(
            repository.name,
            operations,
            commit_message=message,
            repo_type=repository.kind,
            revision=repository.revision,
        )
    return str(commit.oid)
