"""The roles, as ordinary DSPy modules."""

from __future__ import annotations

from flex_dspy.programs.actor import Actor
from flex_dspy.programs.critic import Critic
from flex_dspy.programs.rejection_sampling import RejectionSampling
from flex_dspy.programs.shortlist import Shortlist
from flex_dspy.programs.updater import Updater
from flex_dspy.programs.verifier import Verifier

__all__ = ["Actor", "Critic", "RejectionSampling", "Shortlist", "Updater", "Verifier"]
