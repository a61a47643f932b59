"""Every field of a run, with its default.

A config file is a function `get_config()` that changes some of these:

    from diffpattern.configs import default

    def get_config():
        config = default.get_config()
        config.training.steps = 20
        return config

and the command line changes single fields: `--config.training.steps=20`. Unknown fields, and fields
of a section that the chosen model or optimiser does not use, are refused.
"""

from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    """The default configuration; fields cannot be added to it, only changed."""
    config = ConfigDict()

    # Seed of everything random in training. Data have a seed of their own.
    config.seed = 0
    # Precision of matrix products: "highest", "high" or "default". Accelerators round their
    # factors unless told not to, which PDEs and least squares do not bear; CPUs never do.
    config.matmul_precision = "highest"

    # --- Data: what the rule is to reproduce -----------------------------------------------------
    config.data = data = ConfigDict()
    # Name of the data set.
    data.name = "gray_scott"
    # Folder that keeps prepared data; empty: $DIFFPATTERN_DATA, else the user's cache folder.
    data.directory = ""
    # Parameters of Gray-Scott: diffusion in length^2 per time, feed and kill rates per time.
    data.diffusion_a = 0.1
    data.diffusion_b = 0.05
    data.alpha = 0.06230
    data.gamma = 0.06268
    # Cells along each axis; 1, 2 or 3 axes.
    data.shape = (64, 64)
    # Distance between neighbouring cells, in units of length.
    data.spacing = 1.0
    # Walls: "circular", "zero", "symmetric" (no flux) or "replicate".
    data.boundary = "circular"
    # Stencil of the simulation's Laplacian: "cross", "oono_puri", "isotropic" or "fourth_order".
    data.laplacian = "oono_puri"
    # Solver of the simulation and its step in units of time.
    data.solver = "heun"
    data.dt = 1.0
    # Times between two snapshots and of the last one, in units of time; the first one is at 0.
    data.interval = 16.0
    data.end_time = 1024.0
    # 2 simulates on a grid twice as fine and averages down, so that a fit and the truth do not
    # share a stencil; 1 simulates on the grid of the data.
    data.refinement = 1
    # How many trajectories each split has, from starts of their own.
    data.train = 16
    data.validation = 4
    data.test = 8
    # Seed of the starts.
    data.seed = 0

    # --- Model: the rule that is sought ----------------------------------------------------------
    config.model = model = ConfigDict()
    # "rda" (reaction-diffusion-advection PDE) or "nca" (neural cellular automaton).
    model.name = "rda"

    model.rda = rda = ConfigDict()
    # Which terms the right-hand side has: any of "reaction", "diffusion", "advection".
    rda.terms = ("reaction", "diffusion")
    # "polynomial": linear in the monomials of the species. "network": a pointwise MLP.
    rda.reaction = "polynomial"
    # Highest degree of the monomials of a polynomial.
    rda.polynomial = ConfigDict({"order": 3})
    # The network sees whitened monomials up to this degree (1: the species alone); units of its
    # hidden layers; activation by its name in flax.linen; factor on the last layer's first weights.
    rda.network = ConfigDict(
        {"order": 1, "hidden": (16,), "activation": "tanh", "last_scale": 0.01}
    )
    # Stencil of the Laplacian (as data.laplacian) and first value of the coefficients.
    rda.diffusion = ConfigDict({"laplacian": "oono_puri", "initial": 0.05})
    # Divergence "central" or "upwind"; the velocity's network as above, of the species alone.
    rda.advection = ConfigDict(
        {"scheme": "central", "hidden": (16,), "activation": "tanh", "last_scale": 0.01}
    )
    # Time stepping: "euler", "heun", "tsit5" or "dopri5".
    rda.solver = "heun"
    # Length of a step in units of time; 0 takes adaptive steps.
    rda.dt = 1.0
    # Adaptive steps: tolerances of the local error and most steps between two snapshots.
    rda.adaptive = ConfigDict(
        {"relative_tolerance": 1e-4, "absolute_tolerance": 1e-6, "max_steps": 256}
    )

    model.nca = nca = ConfigDict()
    # Channels of a cell: the data's species first, the rest hidden.
    nca.channels = 16
    # What a cell perceives: any of "identity", "gradient", "laplacian".
    nca.kernels = ("identity", "gradient", "laplacian")
    # Units of the hidden layer and its activation by its name in flax.linen.
    nca.hidden = 128
    nca.activation = "relu"
    # Probability that a cell is updated in a step.
    nca.fire_rate = 0.5
    # Steps between two snapshots.
    nca.steps_per_interval = 16

    # --- Loss: weights of its terms; 0 leaves a term out -----------------------------------------
    # Least squares minimises l2 and takes no other.
    config.loss = ConfigDict({"l2": 1.0, "l1": 0.0, "euclidean": 0.0, "spatial_gradient": 0.0})

    # --- Optimiser -------------------------------------------------------------------------------
    config.optimiser = optimiser = ConfigDict()
    # "levenberg_marquardt", or an Optax rule: "nadam", "adam", "adamw", "lion", "rmsprop", "sgd".
    optimiser.name = "levenberg_marquardt"
    # Steps of a fit of the right-hand side to difference quotients, before the first train step:
    # a start for a PDE with networks. 0 starts from the rule as it is initialised.
    optimiser.derivative_steps = 0
    # First damping, relative to the squared norms of the Jacobian's columns.
    optimiser.levenberg_marquardt = ConfigDict({"damping": 1e-3})
    optimiser.optax = optax = ConfigDict()
    # Learning rate at the top of its schedule.
    optax.learning_rate = 1e-3
    # Steps of linear rise to it; steps until the end of its cosine decay, rise included (0: none).
    optax.warmup_steps = 100
    optax.decay_steps = 2000
    # Fraction of the learning rate that is left after the decay.
    optax.final_fraction = 0.01
    # Largest norm of a gradient (0: any), and whether that of each array is first divided by its
    # own norm.
    optax.clip_norm = 1.0
    optax.normalise_blocks = False
    # Steps in a row whose gradient may be non-finite and is passed over; one more ends the run.
    optax.skip_nonfinite = 0

    # --- Training --------------------------------------------------------------------------------
    config.training = training = ConfigDict()
    # Train steps in all. Resuming with more goes on.
    training.steps = 20
    # Windows in a batch.
    training.batch = 16
    # Intervals between snapshots that a window spans.
    training.window = 1
    # Where windows start: "uniform" in time, or evenly in "log" time, since patterns that form
    # change fast at first and slowly later.
    training.sampling = "log"
    # Windows on one device: "together" in one batch, or "apart" one after the other; "auto" takes
    # them apart on a CPU, whose cache they then fit, and together elsewhere.
    training.windows = "auto"
    # Steps between two checkpoints (each scored on the validation data), and two lines of log.
    training.checkpoint_every = 10
    training.log_every = 1

    # --- Mesh ------------------------------------------------------------------------------------
    config.mesh = mesh = ConfigDict()
    # Devices over which windows and trajectories are spread; -1: all.
    mesh.data = -1
    # Virtual devices that a machine without accelerators makes of its cores; 0: one for each.
    mesh.cpu_devices = 0

    # --- Evaluation ------------------------------------------------------------------------------
    config.evaluation = evaluation = ConfigDict()
    # An NRMSE's denominator is at least this fraction of the training data's fluctuation.
    evaluation.floor = 0.05
    # A prediction is valid until its NRMSE exceeds this.
    evaluation.threshold = 0.2
    # Windows of the test data from which a polynomial's standard errors are computed. Several for
    # each parameter, since the scatter between windows is what they are taken from.
    evaluation.windows = 64

    return config.lock()
