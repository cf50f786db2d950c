"""What a library says about one kind of problem, in one place."""

from flex_dspy.libraries.categories import by_category
from flex_dspy.libraries.experience import Experience, Precedent, Rule


def entry(zone, category, *rules, method="Do it.", helped=0, cases=1):
    precedents = tuple(Precedent(f"{zone} {category} {n} {rules}", "p", "a") for n in range(cases))
    texts = tuple(map(Rule, rules))
    return Experience(zone, method, texts, category=category, helped=helped, precedents=precedents)


def test_entries_are_grouped_and_the_category_with_most_cases_is_first():
    few, warning, golden = entry("golden", "B"), entry("warning", "a", cases=2), entry("golden", "A", cases=3)
    first, second = by_category([few, warning, golden])
    assert first.name == "a"  # as the first entry spells it
    assert first.entries == (golden, warning)
    assert first.sizes == {"golden": 1, "warning": 1}
    assert first.precedent_count == 5
    assert second.entries == (few,)


def test_the_most_helpful_entry_of_a_zone_is_first():
    some, most = entry("golden", "a", "x", helped=1), entry("golden", "a", "y", helped=4)
    (category,) = by_category([some, most])
    assert category.entries == (most, some)
    assert category.helped == 5


def test_a_rule_that_stands_in_several_entries_is_named_once():
    golden = entry("golden", "a", "Add the numbers.")
    mixed = entry("mixed", "a", "Avoid: multiplying.", "Instead: add the numbers.", method="Other.")
    (category,) = by_category([mixed, golden])
    assert category.rules() == [("Add the numbers.", [golden, mixed]), ("Avoid: multiplying.", [mixed])]
    assert category.methods == ["Do it.", "Other."]


def test_an_empty_library_has_no_category():
    assert by_category([]) == []
