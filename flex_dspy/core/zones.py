"""Zones: whether an experience comes from success, from failure, or from a failure that was then corrected."""

from __future__ import annotations

from typing import Literal

Zone = Literal["golden", "warning", "mixed"]
ZONES: tuple[Zone, ...] = ("golden", "warning", "mixed")
