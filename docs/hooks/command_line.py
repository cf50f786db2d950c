"""Writes the reference of the command line: the page is made from the parser itself."""

from __future__ import annotations

import re
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

from flex_dspy.cli import make_app

PAGE = "reference/command-line.md"
_CONTENTS = re.compile(r"^## Table of Contents\n.*?(?=^\*\*|^## )", re.MULTILINE | re.DOTALL)  # the site has its own
_INTRODUCTION = """# Command line

This page is generated from the parser of `flex-dspy`. `flex-dspy COMMAND --help` prints the same text.
"""


def on_files(files: Files, *, config: MkDocsConfig, **_: Any) -> Files:
    """Add the page."""
    files.append(File.generated(config, PAGE, content=page_text()))
    return files


def page_text() -> str:
    """The reference as Markdown."""
    text = make_app().generate_docs(output_format="markdown", heading_level=1)
    return _INTRODUCTION + _CONTENTS.sub("", text.partition("\n")[2])
