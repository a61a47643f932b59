"""The chapter on a rule: which charts it has, and what it says of them."""

import dataclasses

import numpy as np
import pytest
from matplotlib.figure import Figure

from diffpattern.report import figures
from diffpattern.report.rule import chapter
from diffpattern.report.rule.chapter import RuleReading, render, verdict
from diffpattern.report.rule.drawing import Units
from diffpattern.report.rule.phase_plane import HomogeneousState, PhasePlane, ReactionCurve
from diffpattern.report.rule.velocity import VelocityField
from diffpattern.report.rule.weights import FirstLayer, Layer
from diffpattern.stability import Dispersion

K = np.linspace(0.0, np.pi, 65)
GROWTH = 0.2 - 0.3 * (K - 1.0) ** 2
TURING = Dispersion(np.array([1.0, 0.0]), K, GROWTH, 0 * K, 1.0, 0.2)
ONES = np.ones((5, 5))
PLANE = PhasePlane(
    ("A", "B"), (0, 1), (K[:5], K[:5]), np.stack([ONES, ONES]), ONES, held={"hidden 1": 0.25}
)
READING = RuleReading(
    ("A", "B"),
    [Layer("update, hidden 0", ONES)],
    [FirstLayer("the update", ONES, tuple("ABCDE"))],
    "gray_scott",
    {"A": 0.1},
    PLANE,
    [(TURING, None)],
    [VelocityField("taxis", "A<", ONES, np.stack([ONES, ONES]), (1.0, 1.0), 16.0)],
    ["Something is not told: it is < nothing."],
)
SCORES = {"diffusion": {"A": 0.1}, "diffusion_standard_error": {}}


@pytest.fixture
def charts(monkeypatch):
    """What the chapter draws, by the description of each chart, in place of the drawings."""
    drawn = {}

    def chart(draw, alt, caption):
        drawn[alt] = draw, caption
        return f"<figure>{alt}</figure>"

    monkeypatch.setattr(chapter, "chart", chart)
    return drawn


def test_all_that_was_read_is_drawn_and_told(charts):
    page = render(READING, SCORES)
    titles = (
        "Reaction, and waves on homogeneous states",
        "Diffusion and velocities",
        "Weights",
    )
    places = [page.index(f"<h3>{title}</h3>") for title in titles]
    assert places == sorted(places)
    assert list(charts) == [
        "Phase plane of A and B",
        "Growth of waves on A = 1, B = 0",
        "Diffusion coefficients",
        "Velocity of A< by taxis",
        "Weights of all layers",
        "First weights of the update",
    ]
    captions = [caption for _, caption in charts.values()]
    assert "the others are held with hidden ones at zero." in captions[0]
    assert "gray_scott, has no such state" in captions[1]
    assert "<i>A&lt;</i>" in captions[3]
    assert "<p class='note'>Something is not told: it is &lt; nothing.</p>" in page
    for draw, _ in charts.values():
        assert isinstance(draw(figures.DARK), Figure)


def test_what_was_not_read_has_no_heading(charts):
    bare = RuleReading(("A",), missing=["The rule acts inside of a mask."])
    assert render(bare, {}) == "<p class='note'>The rule acts inside of a mask.</p>"
    curve = ReactionCurve("A", K, GROWTH, 0 * K)
    page = render(dataclasses.replace(bare, reaction=curve, missing=()), {})
    assert list(charts) == ["Rate of change of A over its value"] and page.count("<h3>") == 1


def test_a_slice_through_hidden_channels_has_no_states_of_its_own(charts):
    held = {"C": 0.5} | {f"hidden {place}": -0.1 * place for place in range(1, 6)}
    plane = dataclasses.replace(PLANE, held=held)
    caption = lambda: list(charts.values())[-1][1]
    render(RuleReading(("A", "B", "C"), reaction=plane), {})
    assert "only if the channels that are not shown do not change" in caption()
    assert "held with species at the mean of the data (C = 0.5), hidden ones at zero." in caption()
    at_rest = dataclasses.replace(plane, states=[HomogeneousState(np.zeros(8), True)])
    render(RuleReading(("A", "B", "C"), reaction=at_rest), {})
    assert "nearest to the mean of the data: C = 0.5, hidden 1 = −0.1, hidden 2" in caption()
    assert "hidden 5 = −0.5." in caption()
    # Without other channels, each crossing is one.
    render(RuleReading(("A", "B"), reaction=dataclasses.replace(plane, held={})), {})
    assert "where both cross is a state of rest. " in caption() and "slice" not in caption()
    curve = ReactionCurve("A", K, GROWTH, 0 * K, held={"hidden 1": 0.0})
    render(RuleReading(("A",), reaction=curve), {})
    assert "crosses zero is a state of rest only if" in caption()
    assert "held with hidden ones at zero." in caption()


def test_only_networks_have_units_and_biases(charts):
    polynomial = Layer("R", ONES, sides=("change of", "term"))
    network = Layer("hidden 0", ONES, ONES[0])
    said = []
    for layers in ([polynomial], [network], [polynomial, network]):
        render(RuleReading(("A",), layers), {})
        said.append(charts["Weights of all layers"][1])
    assert [("biases" in one, "units" in one, "Terms" in one) for one in said] == [
        (False, False, True),
        (True, True, False),
        (True, True, True),
    ]


def test_a_curve_at_zero_has_no_states_that_are_stable(charts):
    curve = ReactionCurve("A", K, 0 * K, 0 * K)
    render(RuleReading(("A",), reaction=curve), {})
    ((_, caption),) = charts.values()
    assert "not at all, whatever its value" in caption and "stable" not in caption


def test_the_true_system_is_told_beside_the_learnt_one(charts):
    true = dataclasses.replace(TURING, growth=GROWTH - 0.5, fastest_growth=-0.3)
    render(dataclasses.replace(READING, waves=[(TURING, true)]), SCORES)
    caption = charts["Growth of waves on A = 1, B = 0"][1]
    assert "Of gray_scott, which made the data: The state" in caption
    assert caption.count("no wave on it grows") == 1
    render(dataclasses.replace(READING, waves=[(TURING, TURING)]), SCORES)
    assert "The same holds for gray_scott" in charts["Growth of waves on A = 1, B = 0"][1]


def test_verdicts():
    say = lambda **changes: verdict(
        dataclasses.replace(TURING, **changes), ("A", "B"), Units("µm")
    ).replace("\N{NO-BREAK SPACE}", " ")
    assert say() == (
        "The state <i>A</i> = 1.00, <i>B</i> = 0 comes back to itself while all cells are alike, "
        "but waves of 3.46 to 34.2 µm grow, fastest those of 6.28: it is unstable in Turing’s "
        "sense."
    )
    decays = say(growth=GROWTH - 0.5, fastest_growth=-0.3)
    assert decays.endswith("while all cells are alike, and no wave on it grows.")
    conserved = GROWTH.copy()
    conserved[0] = 0.0
    assert "is one of many, since something is conserved, but waves" in say(growth=conserved)
    assert "Turing" not in say(growth=conserved)
    together = say(growth=0.3 - K**2, fastest=0.0, fastest_growth=0.3)
    assert "leaves itself though all cells are alike; all waves" in together
    assert together.endswith("none as fast as all cells together.")
    # A band without an end has no number there.
    assert "all waves longer than 11.5 µm grow, none as fast" in together
    assert "all waves grow, fastest those of 6.28" in say(growth=GROWTH + 2.0)
    assert "all waves shorter than 7.24 µm grow" in say(growth=K - 0.868)
