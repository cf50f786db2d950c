import datetime
import enum
import sys
import typing
from decimal import Decimal
from typing import Annotated, Any, Literal

import dspy
import pydantic
import pytest
from pydantic import BeforeValidator, Field
from typing_extensions import TypedDict

from flex_dspy.core.text import MAX_LENGTH
from flex_dspy.models import structures
from flex_dspy.models.reading import UnreadableError, read_value


class Colour(enum.Enum):
    RED = "red"
    BLUE = "deep_blue"


class Size(enum.IntEnum):
    SMALL = 1
    LARGE = 2


class Point(TypedDict):
    x: int
    y: int


Intent = Literal["transfer", "pending_transfer"]


@pytest.mark.parametrize(
    ("text", "annotation", "value"),
    [
        # the rows of real models
        (r"$\boxed{070}$", int, 70),
        ("**70**", int, 70),
        ("The answer is 70", int, 70),
        ("<think>maybe \\boxed{12}</think>\nThe answer is 70.", int, 70),
        # what DSPy reads rightly
        ("70", int, 70),
        ("070", int, 70),
        ("70.0", int, 70),
        ("70.", int, 70),
        ("1e3", int, 1000),
        ("1_000", int, 1000),
        ('"70"', int, 70),
        ("-5", int, -5),
        ("9007199254740993", int, 9007199254740993),
        ("0.5", float, 0.5),
        ("1e-3", float, 0.001),
        ("5", float, 5.0),
        ("true", bool, True),
        ("no", bool, False),
        ("0", bool, False),
        ("transfer", Intent, "transfer"),
        ("'transfer'", Intent, "transfer"),
        ("Literal[transfer]", Intent, "transfer"),
        ("2", Literal[1, 2], 2),
        ("deep_blue", Colour, Colour.BLUE),
        ("BLUE", Colour, Colour.BLUE),
        ("any text, <think>even</think> this ", str, "any text, <think>even</think> this "),
        ("null", int | None, None),
        ("5", int | None, 5),
        ("5", int | str, 5),
        ("five", int | str, "five"),
        ("true", int | str, "true"),
        ('{"a": 1}', Any, {"a": 1}),
        ("text", Any, "text"),
        ('{"a": 1}', dict[str, int], {"a": 1}),
        ("[1, 2]", list[int], [1, 2]),
        ("2024-05-01", datetime.date, datetime.date(2024, 5, 1)),
        ("1.10", Decimal, Decimal("1.10")),
        # what it refuses
        ("Colour.RED", Colour, Colour.RED),
        ("Red", Colour, Colour.RED),
        ("**Deep Blue**", Colour, Colour.BLUE),
        ("The size is 2", Size, Size.LARGE),
        ("small", Size, Size.SMALL),
        ("The rating is 4 stars.", Literal[1, 2, 3, 4, 5], 4),
        ("True, because 7 is prime.", bool, True),
        ("Label: Pending transfer", Intent, "pending_transfer"),
        ("3.5 kg", float, 3.5),
        ("n/a", int | None, None),
        ("None", str | None, None),
        ("", int | None, None),
        ("**70**", int | None, 70),
        ("**70**", typing.Union[int, None], 70),  # noqa: UP007
        ("none", None | list[str], None),
        ("[1, 2]", int | list[int], [1, 2]),
        ("**Yes**", Literal["Yes", "No"] | None, "Yes"),
        ("(1, 2)", tuple[int, int], (1, 2)),
        ("[1, 2, 1]", set[int], {1, 2}),
        ("- red\n- Deep Blue", list[Colour], [Colour.RED, Colour.BLUE]),
        ('["transfer", "Pending Transfer"]', list[Intent], ["transfer", "pending_transfer"]),
        ("true, false", list[bool], [True, False]),
        ("1.5, 2.5", list[float], [1.5, 2.5]),
        ('```json\n{"x": 1, "y": 2}\n```', Point, {"x": 1, "y": 2}),
        ('[{"x": 1, "y": 2}]', list[Point], [{"x": 1, "y": 2}]),
        ("70%", Annotated[float, Field(le=1)], 0.7),
        ("**70**", Annotated[int, Field(le=100)], 70),
    ],
)
def test_a_value_is_read_as_its_type(text, annotation, value):
    read = read_value(text, annotation)
    assert read == value
    assert type(read) is type(value)


@pytest.mark.parametrize(
    ("text", "annotation", "message"),
    [
        ("I cannot tell", int, "expected one integer, found no number in 'I cannot tell'"),
        ("70 or 71", int, "expected one integer, found no single number beyond doubt in '70 or 71'"),
        ("", int, "expected one integer, found nothing"),
        ("<think>70", int, "expected one integer, found only reasoning and no answer"),
        ("true", int, "expected one integer, found no number in 'true'"),
        ("0x46", int, "beyond doubt"),
        ("70.5", int, "beyond doubt"),
        ("nan", float, "expected one number, found no number in 'nan'"),
        ("1e999", float, "beyond doubt"),
        ("85%", float, "expected one number, found '85%', which may mean 85.0 or 0.85"),
        ("true", float, "expected one number, found no number in 'true'"),
        ("not true", bool, "expected true or false, found 'not true'"),
        ("2", bool, "expected true or false, found '2'"),
        ("transfer or pending_transfer", Intent, "expected one of transfer, pending_transfer, found two of them"),
        ("card", Intent, "expected one of transfer, pending_transfer, found none of them in 'card'"),
        ("not transfer", Intent, "found transfer, but not as the answer"),
        ("", Intent, "found nothing"),
        ("green", Colour, "expected one of red, deep_blue"),
        ("6", Literal[1, 2], "expected one of 1, 2, found '6'"),
        ("I cannot tell", list[int], "expected a JSON list, each item one integer, found no"),
        ("[1, x]", list[int], "expected a JSON list, each item one integer, found no number in 'x'"),
        ("[1, 2", list[int], "cut short"),
        ("1,000", list[int], "found no list in '1,000'"),
        ("[true]", list[int], "found True in the list"),
        ('{"x": 1}', Point, "y: Field required"),
        ('{"x": 1', Point, "expected one JSON object with the fields x, y, found an answer that was cut short"),
        ("x", int | None, "expected one integer or null, found no number in 'x'"),
        ("x", int | float, "expected one integer or one number, found 'x'"),
        ("tomorrow", datetime.date, "expected date, found 'tomorrow'"),
        ("x", None, "expected null"),
    ],
)
def test_a_refusal_says_what_was_expected_and_what_was_found(text, annotation, message):
    with pytest.raises(UnreadableError) as refusal:
        read_value(text, annotation)
    assert message in str(refusal.value)
    assert len(str(refusal.value)) < 500


def test_a_long_answer_is_quoted_in_short_and_many_labels_are_not_all_listed():
    with pytest.raises(UnreadableError) as refusal:
        read_value("word " * 5_000, Literal[tuple(f"label_{number}" for number in range(500))])
    assert len(str(refusal.value)) < 800


# -- bounds and the user's own readers ---------------------------------------------------------------------


def test_bounds_are_kept_and_decide_between_readings():
    class Grade(dspy.Signature):
        answer: str = dspy.InputField()
        score: float = dspy.OutputField(ge=0, le=1)
        points: int = dspy.OutputField(ge=0, le=100)

    score, points = (Grade.output_fields[name] for name in ("score", "points"))
    assert read_value("85%", score.annotation, score.metadata) == 0.85
    assert read_value("8/10", score.annotation, score.metadata) == 0.8
    assert read_value("**85**", points.annotation, points.metadata) == 85
    with pytest.raises(UnreadableError, match="'101': Input should be less than or equal to 100"):
        read_value("101", points.annotation, points.metadata)
    with pytest.raises(UnreadableError, match="expected one number"):
        read_value("1.5", score.annotation, score.metadata)


def spelt(value):
    numbers = {"one": 1, "two": 2}
    if isinstance(value, str) and value.lower() not in numbers:
        raise ValueError("write the number as a word")
    return numbers[value.lower()] if isinstance(value, str) else value


class Spelt(dspy.Signature):
    """Count."""

    text: str = dspy.InputField()
    count: Annotated[int, BeforeValidator(spelt)] = dspy.OutputField()


@pytest.mark.parametrize(
    "signature",
    [
        Spelt,
        Spelt.with_instructions("Count words."),
        Spelt.append("why", dspy.OutputField(), str),
        Spelt.insert(0, "why", dspy.OutputField(), str),
        Spelt.with_updated_fields("count", desc="how many"),
        dspy.ChainOfThought(Spelt).predict.signature,
    ],
)
def test_a_users_own_reader_takes_the_place_of_ours(signature):
    field = signature.output_fields["count"]
    assert read_value("**Two**", field.annotation, field.metadata) == 2
    assert read_value("<think>one</think>two", field.annotation, field.metadata) == 2
    with pytest.raises(UnreadableError, match="write the number as a word"):
        read_value("2", field.annotation, field.metadata)


def test_whatever_a_users_reader_raises_is_a_refusal():
    def broken(value):
        raise KeyError(value)

    with pytest.raises(UnreadableError, match="KeyError"):
        read_value("x", int, [BeforeValidator(broken)])


def test_own_types_of_dspy_are_left_to_dspy():
    assert read_value("```python\nprint(1)\n```", dspy.Code["python"]).code == "print(1)"


def test_a_named_type_is_read_as_what_it_stands_for():
    if sys.version_info < (3, 12):
        pytest.skip("there is no TypeAliasType")
    alias = typing.TypeAliasType("alias", Literal["a_b", "c"])
    assert read_value("A B", alias) == "a_b"


# -- models ------------------------------------------------------------------------------------------------


class Inner(pydantic.BaseModel):
    name: str
    size: int = 0


class Outer(pydantic.BaseModel):
    first: Inner
    rest: list[Inner] = []
    right: bool = False
    share: Annotated[float, Field(le=1)] = 0.0


def test_fields_of_a_model_are_read_tolerantly_too():
    read = read_value('{"first": {"name": "a", "size": 3}, "rest": [], "right": "Yes.", "share": "85%"}', Outer)
    assert read == Outer(first=Inner(name="a", size=3), right=True, share=0.85)


def test_an_object_without_any_known_field_is_no_empty_model():
    class Options(pydantic.BaseModel):
        depth: int = 1

    assert read_value("{}", Options) == Options()
    with pytest.raises(UnreadableError, match="an object with other fields: type, properties"):
        read_value('{"type": "object", "properties": {"depth": {"type": "integer"}}}', Options)


# -- cost --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "annotation", [int, float, bool, Intent, Colour, list[str], list[int], Point, Inner, int | None, Any]
)
@pytest.mark.parametrize(
    "unit", ["{", "[", "(", "\\boxed{", "<think>", "a ", '"', '{"a":', "[[", "- ", "1,", "not ", '"a" ']
)
def test_a_huge_answer_is_refused_and_never_parsed_whole(unit, annotation, monkeypatch):
    seen = []
    monkeypatch.setattr(structures, "depth", lambda text: seen.append(len(text)) or 10**9)
    monkeypatch.setattr("json_repair.loads", lambda text: pytest.fail("parsed in quadratic time"))
    text = unit * (2_000_000 // len(unit))
    try:
        value = read_value(text, annotation)
    except UnreadableError:
        value = None
    assert len(str(value)) <= 2 * MAX_LENGTH
    assert all(length <= MAX_LENGTH + 10 for length in seen)


def test_a_deep_answer_is_refused():
    with pytest.raises(UnreadableError):
        read_value('{"a":' * 100 + "1" + "}" * 100, dict[str, Any])
    with pytest.raises(UnreadableError):
        read_value("{" * 100_000, Inner)


def test_a_validator_of_a_list_is_given_the_list():
    def shortened(value: object) -> object:
        return value[:2] if isinstance(value, list) else value

    assert read_value('["a", "b", "c"]', list[str], [BeforeValidator(shortened)]) == ["a", "b"]
    assert read_value("- a\n- b\n- c", list[str], [BeforeValidator(shortened)]) == ["a", "b"]
