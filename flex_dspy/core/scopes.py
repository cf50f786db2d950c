"""Names of scopes. A scope says to whom an entry of a library belongs."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import AfterValidator

SHARED = ""  # the scope of entries without an owner
SHARED_NAME = "shared"  # its name in files and options, which cannot hold an empty name
_SCOPE = re.compile(r"[\w.:@/+-]{1,100}")


def check_scope(scope: str) -> str:
    """Check the name of a scope and return it; "" is the shared scope.

    Raises:
        ValueError: If the name is not valid.
    """
    if scope == SHARED_NAME:
        raise ValueError(f"{SHARED_NAME!r} is the name of what all share: no scope can have it")
    if scope and not _SCOPE.fullmatch(scope):
        raise ValueError(f"a scope is 1 to 100 letters, digits and . _ : @ / + -, got {scope[:100]!r}")
    return scope


Scope = Annotated[str, AfterValidator(check_scope)]
