"""Every rule of the two families, by the name under which the literature or docs/ know it.

    python -m diffpattern.main --config=configs/rules.py:gated

A name stands for a choice of parts (`configs.default`, section `model`), which may be combined
further. Data, loss and optimiser are those of `nca_gray_scott` for automata, and of `pde_nadam` for
PDEs.
"""

from diffpattern.configs import default, nca_gray_scott, pde_nadam
from diffpattern.models.perception import ISOTROPIC

# Changes of `config.model.nca`; docs/automata.md explains them.
AUTOMATA = {
    "plain": {},
    "gated": {"change": "gated"},
    "bounded": {"finishing": ("bounded",)},
    "higher_order": {"stencils.order": 2},
    "multi_scale": {"perception": "multi_scale"},
    "attention": {"change": "attention"},
    "kan": {"change": "kan"},
    "isotropic": {
        "stencils.kernels": ISOTROPIC.kernels,
        "stencils.gradient": ISOTROPIC.gradient,
        "stencils.laplacian": ISOTROPIC.laplacian,
    },
    "steerable": {"perception": "steerable"},
    "learnt": {"perception": "learnt"},
    "alive": {"finishing": ("alive",), "alive.channel": 0},
}

# The terms of `config.model.rda`, and changes of their sections; docs/terms.md explains them.
PDES = {
    "polynomial": (("polynomial", "diffusion"), {}),
    "network": (("network", "diffusion"), {}),
    "split": (("split", "diffusion"), {}),
    "polynomial_and_network": (("polynomial", "network", "diffusion"), {}),
    "damped": (("network", "cubic_damping", "diffusion"), {}),
    "constrained": (
        ("polynomial", "diffusion"),
        {"polynomial.constraints": ("A B^2: +B -A", "A has only 1, A, A B^2")},
    ),
    "nonlinear_diffusion": (("network", "nonlinear_diffusion"), {}),
    "both_diffusions": (("network", "diffusion", "nonlinear_diffusion"), {}),
    "cross_diffusion": (("network", "cross_diffusion"), {}),
    "cross_diffusion_of_state": (
        ("network", "cross_diffusion"),
        {"cross_diffusion.coefficients": "network"},
    ),
    "advection": (("network", "diffusion", "advection"), {}),
    "taxis": (("network", "diffusion", "taxis"), {}),
    "taxis_of_state": (("network", "diffusion", "taxis"), {"taxis.coefficients": "network"}),
    "phase_field": (("network", "diffusion", "phase_field"), {}),
    "phase_field_of_network": (
        ("network", "diffusion", "phase_field"),
        {"phase_field.potential": "network"},
    ),
    "source": (("network", "diffusion", "source"), {"source.period": 2048.0}),
}

NAMES = (*AUTOMATA, *PDES, "chemotaxis")


def get_config(name="plain"):
    """The config of the rule `name`; see `default` for all fields."""
    if name in AUTOMATA:
        config = nca_gray_scott.get_config()
        config.model.nca = default.get_config().model.nca
        config.model.nca.update_from_flattened_dict(AUTOMATA[name])
        # Windows of data suit every rule; a pool would, too, at more cost.
        training, config.training = config.training, default.get_config().training
        for field in ("steps", "checkpoint_every", "log_every"):
            config.training[field] = training[field]
        config.training.batch, config.training.window = 8, 2
        return config
    config = pde_nadam.get_config()
    if name == "chemotaxis":
        config.model = default.get_config().model
        config.model.name = "chemotaxis"
        config.model.chemotaxis.cell_reaction = True
        return config
    if name not in PDES:
        raise ValueError(f"there is no rule {name!r}; there are {', '.join(NAMES)}")
    terms, changes = PDES[name]
    config.model.rda.terms = terms
    config.model.rda.update_from_flattened_dict(changes)
    return config
