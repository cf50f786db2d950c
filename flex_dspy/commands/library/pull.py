"""``flex-dspy library pull``."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter

from flex_dspy.commands.arguments import OutputFile, Overwrite, Positive, PrintJson


def pull(
    address: str,
    *,
    out: OutputFile,
    hash: Annotated[str, Parameter(help="The library's content hash, as its sender told it.")] = "",
    max_bytes: Positive = 64 << 20,
    yes: Annotated[bool, Parameter(help="Keep it without a question, whatever the audit finds.")] = False,
    overwrite: Overwrite = False,
    json: PrintJson = False,
) -> None:
    """Fetch a library from an address, check it, show what it contains, and keep it.

    Where the audit finds something suspicious, nothing is kept without --yes or your answer.

    Args:
        address: A folder that push wrote to, such as hf://owner/name, or a library file.
        out: The file to write.
        hash: Its hash.
        max_bytes: Most bytes of its file.
        yes: Ask nothing.
        overwrite: Write over a file.
        json: Print JSON.
    """
    from flex_dspy.commands.actions import exchanging, making

    making.check_free(out, overwrite=overwrite)
    exchanging.pull(address, out, hash, max_bytes, is_confirmed=yes, as_json=json)
