"""Settings are checked where they are made, and shown in the signatures of what takes them."""

import inspect
from typing import Literal

import pytest
from pydantic import Field, model_validator

from flex_dspy.core.errors import ConfigurationError
from flex_dspy.core.settings import Settings, accepts


class Pace(Settings):
    window: int = Field(32, ge=1)
    """Staleness bound."""
    mode: Literal["fast", "slow"] = "fast"
    """How fast."""

    @model_validator(mode="after")
    def check(self):
        if self.mode == "slow" and self.window > 100:
            raise ValueError("a slow run cannot have a window above 100")
        return self


class Share(Settings):
    share: float = 0.5
    """Some share."""


@accepts(Pace)
def run(metric, *, settings=None, **options):
    return Pace.resolve(settings, options)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"window": 0}, "window must be at least 1, got 0"),
        ({"window": "many"}, "window should be a valid integer.*got 'many'"),
        ({"mode": "odd"}, "mode must be 'fast' or 'slow', got 'odd'"),
        ({"widow": 3}, "there is no setting 'widow'; there are mode, window"),
        ({"mode": "slow", "window": 101}, "a slow run cannot have a window above 100"),
        ({"window": 0, "mode": "odd"}, "window must be at least 1, got 0; mode must be"),
    ],
)
def test_a_setting_that_makes_no_sense_is_refused_by_name(options, said):
    with pytest.raises(ConfigurationError, match=said):
        run(None, **options)
    with pytest.raises(ConfigurationError, match=said):
        run(None, settings=Pace(), **options)


def test_fields_by_name_change_the_settings_given():
    assert run(None, settings=Pace(window=8), mode="slow") == Pace(window=8, mode="slow")
    assert run(None) == Pace()


def test_settings_cannot_be_changed_in_place():
    with pytest.raises(Exception, match="frozen"):
        Pace().window = 4


def test_the_fields_stand_in_the_signature_and_have_help():
    shown = inspect.signature(run).parameters
    assert list(shown) == ["metric", "settings", "window", "mode"]
    assert shown["window"].default == 32
    assert [field.description for field in Pace.model_fields.values()] == ["Staleness bound.", "How fast."]


@pytest.mark.parametrize("settings", [{"window": 4}, "window", Pace])
def test_settings_of_another_kind_are_refused(settings):
    with pytest.raises(ConfigurationError, match="settings must be Pace, got"):
        run(None, settings=settings)


@pytest.mark.parametrize("number", [float("nan"), float("inf")])
def test_a_setting_is_a_finite_number(number):
    with pytest.raises(ConfigurationError, match="share should be a finite number"):
        Share(share=number)
