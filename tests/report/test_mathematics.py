"""Numbers and equations as HTML."""

import pytest

from diffpattern.report import mathematics


@pytest.mark.parametrize(
    ("value", "digits", "text"),
    [
        (0.0, 2, "0"),
        (0.1, 3, "0.100"),
        (-0.25, 2, "−0.25"),
        (390.0, 2, "390"),
        (12.0, 2, "12"),
        (1.6e-5, 2, "1.6×10<sup>−5</sup>"),
        (-2e7, 2, "−2.0×10<sup>7</sup>"),
        (None, 2, "not finite"),
        (float("inf"), 2, "not finite"),
    ],
)
def test_number(value, digits, text):
    assert mathematics.number(value, digits) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.0, "0"), (1024.0, "1024"), (204800.0, "204800"), (1 / 3, "0.3333"), (2.50, "2.5")],
)
def test_time(value, text):
    assert mathematics.time(value) == text


@pytest.mark.parametrize(
    ("value", "error", "text"),
    [
        (0.100031, 2.1e-5, "0.10003"),
        (-1.00042, 3e-4, "−1.0004"),
        (-0.0013, 0.0021, "−0.001"),
        (1e-6, 2e-5, "1×10<sup>−6</sup>"),
        (0.123456, None, "0.1235"),
        (0.123456, float("inf"), "0.1235"),
    ],
)
def test_coefficient_has_the_digits_its_error_leaves(value, error, text):
    assert mathematics.coefficient({"coefficient": value, "standard_error": error}) == text


def test_terms():
    assert mathematics.term("1") == ""
    assert mathematics.term("A B^2") == "<i>A</i>\N{THIN SPACE}<i>B</i><sup>2</sup>"
    assert mathematics.term("<b>^3") == "<i>&lt;b&gt;</i><sup>3</sup>"


def test_equation_marks_only_what_is_not_determined():
    text = mathematics.equation(
        "A",
        [
            {"term": "1", "coefficient": 0.0623, "standard_error": 1e-4, "determined": True},
            {"term": "B^3", "coefficient": -0.4, "standard_error": 2.0, "determined": False},
        ],
        {"coefficient": 0.1, "standard_error": 1e-3},
    )
    found, marked = text.split('<span class="undetermined">')
    assert "∂<i>A</i>/∂<i>t</i> =" in found
    assert "0.100\N{THIN SPACE}∇<sup>2</sup><i>A</i>" in found
    assert "+\N{NO-BREAK SPACE}0.0623<" in found
    assert mathematics.NOT_DETERMINED not in found
    assert "−\N{NO-BREAK SPACE}0.4\N{THIN SPACE}<i>B</i><sup>3</sup>" in marked
    assert mathematics.NOT_DETERMINED in marked


def test_an_equation_names_the_terms_that_it_does_not_write_out():
    term = {"term": "A", "coefficient": -2.0}
    alone = mathematics.equation("A", [], None, others=("a_term", "network"))
    assert "=</span> <span>[a_term]</span> <span>+\N{NO-BREAK SPACE}[network]" in alone
    text = mathematics.equation("A", [term], None, others=("advection",))
    assert text.index("<i>A</i></span>") < text.index("[advection]")


def test_an_equation_without_terms_says_zero():
    assert mathematics.equation("A", [], None).endswith("=</span> 0</p>")
