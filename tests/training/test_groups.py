import numpy as np
import pytest

from diffpattern.errors import InputError
from diffpattern.training import groups

LAYER = {"kernel": np.zeros((2, 3)), "bias": np.zeros(3)}
PARAMETERS = {
    "diffusion": {"coefficient": np.zeros(2)},
    "network": {"hidden_0": LAYER, "out": LAYER},
}


def spread_out(**named):
    named = {name.replace("__", "/"): value for name, value in named.items()}
    return groups.spread_out(named, 1.0, PARAMETERS, field="a.field")


def test_the_longest_name_that_fits_holds():
    assert spread_out(network=2.0, network__hidden_0=3.0, network__hidden_0__bias=4.0) == {
        "diffusion": {"coefficient": 1.0},
        "network": {"hidden_0": {"kernel": 3.0, "bias": 4.0}, "out": {"kernel": 2.0, "bias": 2.0}},
    }


def test_the_order_of_names_does_not_matter():
    assert spread_out(network__out=3.0, network=2.0) == spread_out(network=2.0, network__out=3.0)


@pytest.mark.parametrize(
    "name", ["netw", "network/hidden", "kernel", "network/", "/network", "", 3]
)
def test_a_name_is_made_of_whole_components_from_the_first_on(name):
    with pytest.raises(InputError) as error:
        groups.spread_out({name: 2.0}, 1.0, PARAMETERS, field="a.field")
    message = str(error.value)
    assert message.startswith(f"a.field names {name!r}") and message.endswith(".")
    assert "diffusion/coefficient" in message and "network/hidden_0/bias" in message


def test_norms_are_of_layers():
    layer = lambda scale: {"kernel": scale * np.ones((2, 3)), "bias": scale * np.ones(3)}
    tree = {"diffusion": np.array([-3.0, 4.0]), "network": {"a": layer(1.0), "b": layer(-2.0)}}
    norms = groups.layer_norms(tree, "norm")
    assert {name: float(norm) for name, norm in norms.items()} == {
        "norm/diffusion": 5.0,
        "norm/network/a": 3.0,
        "norm/network/b": 6.0,
    }
