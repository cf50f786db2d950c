"""Names of scopes: whom an entry of a library belongs to."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import AfterValidator

SHARED = ""  # the scope of what belongs to nobody
SHARED_NAME = "shared"  # its name where an empty text cannot be written
_SCOPE = re.compile(r"[\w.:@/+-]{1,100}")


def check_scope(scope: str) -> str:
    """A scope, if it is one; "" is the shared one.

    Raises:
        ValueError: If it is none.
    """
    if scope == SHARED_NAME:
        raise ValueError(f"{SHARED_NAME!r} is the name of what all share: no scope can have it")
    if scope and not _SCOPE.fullmatch(scope):
        raise ValueError(f"a scope is 1 to 100 letters, digits and . _ : @ / + -, got {scope[:100]!r}")
    return scope


Scope = Annotated[str, AfterValidator(check_scope)]
