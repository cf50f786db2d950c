"""The progress bar of a learning run, as a listener."""

from __future__ import annotations

from typing import Any

from tqdm.auto import tqdm

from flex_dspy.learning.events import EditCommitted, Event, ExampleFailed, RunEnded, RunStarted, VersionPublished
from flex_dspy.libraries.library import ExperienceLibrary
from flex_dspy.models.spending import Ledger


class Progress:
    """Shows a progress bar, and one line for each version.

    The bar holds the share of solved examples, the library's size, the failures and the cost.


    Args:
        label: Text before the bar.
        ledger: Counts the cost.
    """

    def __init__(self, label: str, ledger: Ledger) -> None:
        self.label = label
        self.ledger = ledger
        self._bar: tqdm[Any] | None = None
        self._solved: list[bool] = []
        self._failed: set[int] = set()
        self._library = ExperienceLibrary()

    def __call__(self, event: Event) -> None:
        """Show an event."""
        match event:
            case RunStarted(total=total, done=done, failed=failed):
                self._failed = set(failed)
                self._bar = tqdm(total=total, initial=done, desc=self.label, unit="ex")
            case EditCommitted(step=step, library=library, commit=commit):
                self._failed.discard(step)
                self._library = library
                if not event.is_retry:
                    self._solved += [commit.solved] if commit.solved is not None else []
                    self._show(step)
            case ExampleFailed(step=step) if not event.is_retry:
                self._failed.add(step)
                self._show(step)
            case VersionPublished(record=record):
                tqdm.write(record.text())
            case RunEnded() if self._bar is not None:
                self._bar.close()

    def _show(self, step: int) -> None:
        if self._bar is not None:
            self._bar.set_postfix_str(self._text(), refresh=False)
            self._bar.update(step - self._bar.n)  # the bar moves back if examples are attempted once more

    def _text(self) -> str:
        sizes = ", ".join(f"{count} {zone}" for zone, count in self._library.sizes().items() if count)
        success = f"solved {sum(self._solved) / len(self._solved):.0%}, " if self._solved else ""
        failures = f", {len(self._failed)} failed" if self._failed else ""
        spent = self.ledger.total
        return f"{success}library {sizes or 'empty'}{failures}{f', {spent}' if spent.tokens else ''}"
