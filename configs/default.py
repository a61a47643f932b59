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

import dataclasses

from ml_collections import ConfigDict

from diffpattern.systems import SYSTEMS


def get_config() -> ConfigDict:
    """The default configuration; fields cannot be added to it, only changed."""
    config = ConfigDict()

    # Seed of everything random in training. Data have a seed of their own.
    config.seed = 0
    # Precision of matrix products: "highest", "high" or "default". Accelerators round their
    # factors unless told not to, which PDEs and least squares do not bear; CPUs never do.
    config.matmul_precision = "highest"

    # Of data, parameters and everything computed: "float32", or "float64", which takes twice the
    # memory and is slow on most accelerators.
    config.precision = "float32"
    # Folder that keeps what XLA has compiled, so that no other run has to; empty: that of
    # $JAX_COMPILATION_CACHE_DIR, else of the user's cache folder; "none": nothing is kept.
    config.compilation_cache = ""
    # So many train steps are traced into RUN/profile, for TensorBoard or Perfetto
    # (docs/performance.md); 0: none.
    config.profile = ConfigDict({"steps": 0})

    # --- Data: what the rule is to reproduce -----------------------------------------------------
    config.data = data = ConfigDict()
    # The PDE that makes the data, any of diffpattern.systems.SYSTEMS (configs/systems.py has
    # settings that suit each), or what they are read from: "images", "panels", "the_well",
    # "pdebench", or another "run", whose rule makes them; or a system or function of your own,
    # "module:name". What is read has a section of its own, below; most other fields of data are
    # those of a simulation. ("given" are the arrays that `diffpattern.fit` is handed.)
    data.name = "gray_scott"
    # Folder that keeps prepared data; empty: $DIFFPATTERN_DATA, else the user's cache folder.
    data.directory = ""
    # Parameters of each system, data.SYSTEM.PARAMETER, as its class explains them.
    for name, system in SYSTEMS.items():
        data[name] = ConfigDict(dataclasses.asdict(system()))
    # What a system of your own is made with, or what your function is called with that reads data
    # (docs/own_parts.md).
    data.own = ConfigDict()
    # Cells along each axis; 1, 2 or 3 axes.
    data.shape = (64, 64)
    # Lattices of other sizes besides, each with as many trajectories: ((48, 48), (32, 96)).
    data.further_shapes = ()
    # Distance between neighbouring cells, in units of length.
    data.spacing = 1.0
    # Walls, one entry for all axes or one for each: "circular", "zero", "symmetric" (no flux) or
    # "replicate"; given values and fluxes as docs/boundaries.md writes them.
    data.boundary = ("circular",)
    # Stencil of the simulation's Laplacian: "cross", "oono_puri", "isotropic" or "fourth_order".
    data.laplacian = "oono_puri"
    # Solver of the simulation, explicit or exponential (see solver.name), and its step in units
    # of time.
    data.solver = "heun"
    data.dt = 1.0
    # Times between two snapshots and of the last one, in units of time; the first one is at 0.
    data.interval = 16.0
    data.end_time = 1024.0
    # 2 simulates on a grid twice as fine and averages down, so that a fit and the truth do not
    # share a stencil; 1 simulates on the grid of the data.
    data.refinement = 1
    # Where each trajectory has anything at all: "none" (everywhere), a random "ellipse", or a
    # "micropattern", at random a disc, a square or a triangle.
    data.mask = "none"
    # Fields that the rule sees beside the species: "coordinates" of the cells, distance from the
    # mask's "edge", or both.
    data.environment = ()
    # Parameters of the system that differ between trajectories, such as "alpha=0.03,0.0623": as
    # many trajectories for each value (for each combination), and the rule is told which, between
    # 0 for the lowest and 1 for the highest. Automata take what they are told; PDEs do not.
    data.doses = ()
    # Standard deviation of Gaussian noise on the data to train on and to choose by, as a share of
    # each channel's own; test data stay clean.
    data.noise = 0.0
    # Times at which species are seen in these data, where not at all: ("u=0,1,2,4", "v=0,4").
    data.seen = ()
    # How many trajectories each split has, from starts of their own.
    data.train = 16
    data.validation = 4
    data.test = 8
    # Seed of the starts.
    data.seed = 0
    # Sequences of images, each a trajectory: a folder, a pattern, a file, "skimage:logo", or
    # several of these in parentheses (docs/data.md). Where no validation or test is named, the
    # training data are taken. Names of the files' channels (empty: as they say) and those to keep,
    # by name or number (empty: all). Times of the frames, or the time between two of them (0: as
    # the files say, else 1). A first frame to be added: "mean", that of each channel throughout, or
    # a seed, 1 in the middle cell of the channel that is named (empty: none).
    data.images = pictures(
        train=(),
        validation=(),
        test=(),
        species=(),
        select=(),
        first_frame="",
        times=(),
        interval=0.0,
    )
    # Colonies in a CSV table with the columns file, time, panel, colony and possibly split, merged
    # into one trajectory. Names of channels by panel, "A: DAPI,SOX2; B: DAPI,-,CDX2", where - is
    # left out (empty: as the files say). Inside is where most masks are ("mean") or any ("union").
    data.panels = pictures(table="", species="", overlap="mean")
    # HDF5 files as The Well has them (docs/data.md). Scalar fields that are the species (empty:
    # all), scalars that the rule is told, and walls as in data.boundary (empty: as the files say).
    data.the_well = hdf5(fields=(), inputs=(), boundary=())
    # HDF5 files as PDEBench has them, a group for each trajectory. Names of the channels; walls.
    data.pdebench = hdf5(species=("u", "v"), boundary=("symmetric",))
    # What the rule of a run makes: the run's folder; step of the checkpoint (0: the best); how many
    # trajectories each split has, from the starts of the run's test data and, for more, from new
    # ones of its system; times between two snapshots and of the last, counted from the first (0: as
    # in the test data); seed of the rule's noise and of new starts.
    data.run = ConfigDict(
        {
            "folder": "",
            "step": 0,
            "train": 16,
            "validation": 4,
            "test": 8,
            "interval": 0.0,
            "end_time": 0.0,
            "seed": 0,
        }
    )

    # --- Model: the rule that is sought ----------------------------------------------------------
    config.model = model = ConfigDict()
    # "rda" (reaction-diffusion-advection PDE), "chemotaxis" (one of cells and signals), "nca"
    # (neural cellular automaton), or a class of your own, "module:Class".
    model.name = "rda"
    # What classes of your own are made with.
    model.own = ConfigDict()
    # Where the rule acts: where the data's mask says ("given"), where it pleases, though it sees
    # that mask ("soft"), or where it has learnt to: by a "trainable" mask, cell by cell, or by the
    # data's mask with an "edge" that is learnt.
    model.mask = "given"

    model.rda = rda = ConfigDict()
    # The right-hand side is the sum of these terms, any of those that have a section here, or
    # classes of your own, "module:Class".
    rda.terms = ("polynomial", "diffusion")
    # Reactions. A polynomial is linear in all monomials of the species up to an order; its
    # coefficients may obey constraints (docs/terms.md has their language) and depend on the
    # data's environment.
    rda.polynomial = ConfigDict({"order": 3, "constraints": (), "position": False})
    rda.network = network()
    # Production less decay, neither negative; both have this first value, per time.
    rda.split = network(initial=0.1)
    # -s x^3, which keeps other reactions from growing without end; first value of s.
    rda.cubic_damping = ConfigDict({"initial": 0.0})
    # Diffusion: stencil of the Laplacian (as data.laplacian) and first value of the coefficients,
    # in length^2 per time.
    rda.diffusion = ConfigDict({"laplacian": "oono_puri", "initial": 0.05})
    # Its coefficients a network; a matrix over the species, "constant" or of a "network".
    rda.nonlinear_diffusion = network(initial=0.05)
    rda.cross_diffusion = network(initial=0.05, coefficients="constant")
    # Advection, by a "central" or "upwind" scheme: by velocities of a network, or along the
    # gradients of other species with sensitivities that are "constant" or of a "network".
    rda.advection = network(scheme="central")
    rda.taxis = network(scheme="central", coefficients="constant")
    # Phase field: a potential that is a "polynomial" of this order or a "network", and the first
    # value of kappa, in length^4 per time.
    rda.phase_field = network(potential="polynomial", degree=3, laplacian="oono_puri", initial=0.05)
    # Source by position, by time with a period (0: not by time), or both.
    rda.source = ConfigDict(
        {
            "position": True,
            "period": 0.0,
            "hidden": (16,),
            "activation": "tanh",
            "last_scale": 0.01,
            "initialiser": "lecun_normal",
        }
    )

    # The first species are cells, which climb learnt functions of the other ones, the signals;
    # whether cells are born and die; the rest as in the terms above.
    model.chemotaxis = network(
        cells=1, cell_reaction=False, scheme="central", laplacian="oono_puri", initial=0.05
    )

    model.nca = nca = ConfigDict()
    # Channels of a cell: the data's species first, the rest hidden.
    nca.channels = 16
    # What a cell sees: through fixed "stencils", "learnt" ones, a "multi_scale" pyramid of them,
    # or "steerable" ones in a frame that each cell turns by its last channel.
    nca.perception = "stencils"
    # Any of "identity", "gradient", "gradient_norm", "laplacian", "average", or functions of your
    # own, "module:function"; blurred by a Gaussian of so many cells if that is above 1; of the
    # monomials of the channels up to an order; schemes of the gradient ("central", "sobel",
    # "bickley") and of the Laplacian.
    nca.stencils = ConfigDict(
        {
            "kernels": ("identity", "gradient", "laplacian"),
            "kernel_scale": 1.0,
            "order": 1,
            "gradient": "sobel",
            "laplacian": "oono_puri",
        }
    )
    # Stencils for each channel.
    nca.learnt = ConfigDict({"count": 4})
    # Cells an axis that a group of channels is averaged over, a number for each group.
    nca.multi_scale = ConfigDict(
        {
            "scales": (1, 2, 4),
            "kernels": ("identity", "gradient", "laplacian"),
            "gradient": "sobel",
            "laplacian": "oono_puri",
        }
    )
    nca.steerable = ConfigDict(
        {
            "kernels": ("identity", "gradient", "laplacian"),
            "kernel_scale": 1.0,
            "gradient": "bickley",
            "laplacian": "isotropic",
        }
    )
    # What it does about it: a "network", a "gated" one, "attention" among views of what it sees, or
    # a Kolmogorov-Arnold network ("kan").
    nca.change = "network"
    # Units of hidden layers, and the activation by its name in flax.linen.
    nca.network = ConfigDict({"hidden": (128,), "activation": "relu"})
    nca.gated = ConfigDict({"hidden": (128,), "activation": "relu"})
    nca.attention = ConfigDict({"heads": 4, "tokens": 4, "length": 8})
    nca.kan = ConfigDict({"hidden": (64,), "bases": 8, "reach": 2.0, "activation": "silu"})
    # What is done to the lattice after each step, in this order: "bounded" clips the data's
    # channels to [0, 1] and hidden ones to [-1, 1]; "alive" empties cells with nobody alive around.
    nca.finishing = ()
    # The channel that tells who is alive, from which value on.
    nca.alive = ConfigDict({"channel": 3, "threshold": 0.1})
    # Probability that a cell is updated in a step.
    nca.fire_rate = 0.5
    # Factor on an update: the step of Euler's method, if the rule is taken for that of a PDE.
    nca.step_size = 1.0
    # Steps between two snapshots; in training as many more or fewer, drawn each time.
    nca.steps_per_interval = 16
    nca.step_jitter = 0
    # Hidden channels start from zero, or from the values of the channel that tells who is alive, so
    # that a seed is a one in all of them; then with noise of this standard deviation.
    nca.start_alive, nca.start_noise = False, 0.0

    # --- Solver of a PDE -------------------------------------------------------------------------
    config.solver = solver = ConfigDict()
    # Explicit: "euler", "heun", "tsit5", "dopri5", "dopri8"; exponential, which takes linear
    # diffusion exactly: "etdrk2", "etdrk4"; implicit, on one device: "kencarp3", "kvaerno3".
    solver.name = "heun"
    # Length of a step in units of time; 0 takes adaptive steps (always so by an implicit solver).
    solver.dt = 1.0
    # An exponential solver multiplies modes by -k^2 instead of by the stencil's own factor.
    solver.exact = False
    # Adaptive steps: tolerances of the local error and most steps between two snapshots.
    solver.adaptive = ConfigDict(
        {"relative_tolerance": 1e-4, "absolute_tolerance": 1e-6, "max_steps": 256}
    )

    # --- Loss: weights of its terms; 0 leaves a term out -----------------------------------------
    # Least squares minimises l2, weighed or not, and no other. docs/losses.md says what each sees.
    config.loss = loss = ConfigDict()
    # Cell by cell: mean squares, mean absolute values, root mean squares of each channel of each
    # snapshot, those of a random subset of cells, angles between fields, slopes, block means.
    loss.l2 = 1.0
    loss.l1 = 0.0
    loss.euclidean = 0.0
    loss.sampled_euclidean = 0.0
    loss.cosine = 0.0
    loss.spatial_gradient = 0.0
    loss.multi_scale = 0.0
    # Wave by wave: amplitudes, and phases; both with the same weight are l2.
    loss.spectral = 0.0
    loss.spectral_phase = 0.0
    # As distributions, wherever things lie: sliced Wasserstein distances of the cells' values and
    # of patches.
    loss.colours = 0.0
    loss.patches = 0.0
    # As a trained network sees pictures: what features occur together, and which are where.
    loss.vgg_gram = 0.0
    loss.lpips = 0.0
    # Those of your own, with their weights: ("module:function=0.5",).
    loss.own = ()
    # How much each channel of the data counts, and each snapshot of a window after the first; only
    # their ratios matter. Empty: all alike.
    loss.channel_weights = ()
    loss.time_weights = ()
    loss.settings = settings = ConfigDict()
    # Fraction of the cells that is drawn in each step.
    settings.sampled_euclidean = ConfigDict({"fraction": 0.1})
    # The loss that is taken at each scale (l2, l1, euclidean, cosine, spatial_gradient, spectral or
    # spectral_phase), and cells an axis of the blocks.
    settings.multi_scale = ConfigDict({"of": "l2", "scales": (1, 2, 4)})
    # Random lines onto which points are projected (at each scale); cells an axis of a patch, and of
    # the blocks that the lattice is averaged over before patches are taken.
    settings.colours = ConfigDict({"projections": 32})
    settings.patches = ConfigDict({"projections": 32, "size": 5, "scales": (1, 2, 4)})
    # Of vgg_gram and lpips: files of weights, .npz, .safetensors or .pth (docs/losses.md says which
    # and where from), and the channels that are shown as red, green and blue.
    settings.perceptual = ConfigDict({"files": (), "red_green_blue": (0, 1, 2)})

    # --- Regularisers: likewise ------------------------------------------------------------------
    config.regulariser = regulariser = ConfigDict()
    # Mean of a trainable mask; mean square of what the rule leaves outside of the data's mask.
    regulariser.coverage = 0.0
    regulariser.outside = 0.0
    # How far values of any channel lie outside of [0, 1]; mean absolute value of parameters.
    regulariser.out_of_range = 0.0
    regulariser.sparsity = 0.0

    # --- Optimiser -------------------------------------------------------------------------------
    config.optimiser = optimiser = ConfigDict()
    # "levenberg_marquardt", "lbfgs", or a rule of Optax such as "nadam", "adamw", "lion" or "sgd"
    # (docs/optimisers.md has them all).
    optimiser.name = "levenberg_marquardt"
    # Steps of a fit of the right-hand side to difference quotients, before the first train step:
    # a start for a PDE with networks. 0 starts from the rule as it is initialised.
    optimiser.derivative_steps = 0
    optimiser.levenberg_marquardt = squares = ConfigDict()
    # First damping, relative to the squared norms of the Jacobian's columns.
    squares.damping = 1e-3
    # Groups of parameters that stay as they are initialised, by how their paths begin, for so many
    # steps (0: throughout): ("mask",) lets a rule come first and its mask follow.
    squares.frozen = ()
    squares.frozen_steps = 0
    # A "dense" Jacobian, for up to 2000 parameters, or products with it alone, "matrix_free".
    squares.form = "dense"
    # Most products in a step, and the residual of its linear system at which fewer are enough.
    squares.conjugate_gradients = ConfigDict({"iterations": 30, "tolerance": 0.01})
    # The matrix-free form may seek the starts of windows too ("multiple shooting", for noisy data):
    # the weight of a start's distance from its snapshot, against that of predictions from theirs. 1
    # where all snapshots are equally noisy; 0 takes them as they are.
    squares.start_weight = 0.0
    # Selection of a polynomial's terms: after every so many steps (0: never) those are left out
    # that are not told apart from zero by so many standard errors, computed from so many windows,
    # or that change predictions by less than this share of what the greatest term does.
    squares.selection = ConfigDict(
        {"steps": 0, "significance": 3.0, "windows": 64, "smallest": 1e-3}
    )
    optimiser.optax = optax = ConfigDict()
    # Learning rate at the top of its schedule, and steps of linear rise to it.
    optax.learning_rate = 1e-3
    optax.warmup_steps = 100
    # How it goes on: "constant", "cosine", "exponential", "linear" or "piecewise".
    optax.schedule = "cosine"
    # Steps until the end of a decay, rise included, and the fraction of the learning rate that is
    # left then.
    optax.decay_steps = 2000
    optax.final_fraction = 0.01
    # Factors on a piecewise rate and the steps at which they come: ("1000=0.3", "2000=0.3").
    optax.piecewise = ()
    # Factors on the learning rate of groups of parameters, by how their paths begin:
    # ("diffusion=0.1", "network/network/output=2"); the longest that fits holds.
    optax.rates = ()
    # Groups of parameters that stay as they are initialised: ("diffusion",).
    optax.frozen = ()
    # Decay of weights by rules that have one, relative to the learning rate.
    optax.weight_decay = 1e-4
    # Largest norm of a gradient (0: any), and whether that of each array is first divided by its
    # own norm.
    optax.clip_norm = 1.0
    optax.normalise_blocks = False
    # Steps in a row whose gradient may be non-finite and is passed over; one more ends the run.
    optax.skip_nonfinite = 0
    # Decay of a running average of the parameters, which is validated, kept for evaluation and
    # scored in their place; 0 averages nothing.
    optax.average_decay = 0.0
    # Share of each kernel's weights, the smallest, that are zero in the end (0: none); the share
    # rises between these steps.
    optax.pruning = ConfigDict({"sparsity": 0.0, "first_step": 500, "last_step": 1500})
    # L-BFGS: pairs of changes that it remembers, and most trials of a search along its direction.
    optax.lbfgs = ConfigDict({"memory": 10, "search_steps": 20})

    # --- Training --------------------------------------------------------------------------------
    config.training = training = ConfigDict()
    # Train steps in all. Resuming with more goes on.
    training.steps = 20
    # Windows in a batch; where lattices are of several sizes, so many of each.
    training.batch = 16
    # Intervals between snapshots that a window spans.
    training.window = 1
    # Lengths of the windows before that, in intervals, each for so many steps: (0.25, 0.5) begins
    # with parts of an interval, interpolated between snapshots. For rules that cannot yet be fitted
    # over a window's full length.
    training.continuation = ()
    training.continuation_steps = 10
    # Where windows start: "uniform" in time, or evenly in "log" time, since patterns that form
    # change fast at first and slowly later.
    training.sampling = "log"
    # What windows start from: "data", the snapshots there, or a "pool" of states that the rule has
    # led to itself, hidden channels included (Optax only).
    training.starts = "data"
    # Slots of the pool for each window of a batch. A slot begins at the "first" snapshot, or at one
    # drawn "uniform" or in "log" time; after a step it begins anew with probability `reset`, else
    # moves on to where its window ends with probability `advance`; at the trajectory's end it
    # "begin"s anew or "stay"s. In every so many trajectories (0: none) the species are set to the
    # data as it moves on. So many slots of a batch, those of the highest losses, begin anew.
    training.pool = ConfigDict(
        {
            "slots": 1,
            "begin": "first",
            "reset": 0.0,
            "advance": 1.0,
            "at_end": "begin",
            "refresh_every": 0,
            "replace_worst": 0,
        }
    )
    # Steps of normalised gradient descent, of this root mean square each, by which the hidden
    # channels of a window's start are first fitted to what follows; 0: none.
    training.inner = ConfigDict({"steps": 0, "rate": 0.01})
    # Windows on one device: "together" in one batch, or "apart" one after the other; "auto" takes
    # them apart on a CPU, whose cache they then fit, and together elsewhere.
    training.windows = "auto"
    # Steps between two checkpoints (each scored on the validation data), and two lines of log.
    training.checkpoint_every = 10
    training.log_every = 1
    # Minutes after which a line of log comes with a checkpoint in between, not scored; 0: never.
    training.checkpoint_minutes = 0.0
    # Of so many scored checkpoints one comes with histograms and pictures for TensorBoard, as the
    # last step does, which has an animation too (docs/tensorboard.md); 0: none.
    training.pictures_every = 1
    # A step that takes so many times the median, and more than so many seconds, ends the run, since
    # something does not answer. 0: steps may take as long as they like.
    training.stall_factor = 10.0
    training.stall_seconds = 30.0

    # --- Augmentation: what happens to a window before the rule runs over it ----------------------
    config.augmentation = augmentation = ConfigDict()
    # Cells an axis of a random part that alone is seen (0: everything); shifts along circular axes;
    # mirrors, and quarter turns of square lattices (of square cells).
    augmentation.crop = 0
    augmentation.shift = False
    augmentation.turn = False
    # Probability that a start loses a random disc; in a pool, one that has just begun does not.
    augmentation.damage = 0.0
    # Standard deviation of noise on a start: on "all" channels, "observed" or "hidden" ones.
    augmentation.noise = 0.0
    augmentation.noise_on = "all"

    # --- Mesh ------------------------------------------------------------------------------------
    config.mesh = mesh = ConfigDict()
    # Devices, or groups of them that share a lattice, over which windows and trajectories are
    # spread; -1: all, and with a pool as many as divide the batch.
    mesh.data = -1
    # Into how many blocks the first axis of a lattice is cut, and its second one, each block on a
    # device of its own: for lattices that one device cannot hold. docs/blocks.md has what it costs.
    mesh.rows = 1
    mesh.columns = 1
    # Steps between two exchanges of borders, which are so many times wider then: fewer messages,
    # for some cells that two devices compute.
    mesh.exchange_every = 1
    # Virtual devices that a machine without accelerators makes of its cores, or each process of
    # several (docs/machines.md); 0: one for each core.
    mesh.cpu_devices = 0

    # --- Plan: one accelerator of a cluster, as its data sheet has it, for --mode=plan ------------
    config.plan = plan = ConfigDict()
    # Operations a second, in the precision of training; bytes a second of its memory, and how many
    # bytes that holds. Here an H100 of NVIDIA in float32.
    plan.operations = 67e12
    plan.memory_bandwidth = 3.35e12
    plan.memory = 80e9
    # Bytes a second to another accelerator in one direction, and seconds before the first of them
    # arrives. Here a network of 400 Gbit/s.
    plan.link_bandwidth = 50e9
    plan.latency = 10e-6

    # --- Evaluation ------------------------------------------------------------------------------
    config.evaluation = evaluation = ConfigDict()
    # Whether to read what the rule does, damage its pattern and draw report.html and videos, which
    # takes some 20 s; without it scores and predictions are all.
    evaluation.report = True
    # An NRMSE's denominator is at least this fraction of the training data's fluctuation.
    evaluation.floor = 0.05
    # A prediction is valid until its NRMSE exceeds this.
    evaluation.threshold = 0.2
    # Species of which the share of cells above a level is compared, such as "B=0.1".
    evaluation.covered = ()
    # Windows of the test data from which a polynomial's standard errors are computed. Several for
    # each parameter, since the scatter between windows is what they are taken from.
    evaluation.windows = 64

    config.lock()
    # What is in these is for the user to say.
    data.own.unlock()
    model.own.unlock()
    return config


def pictures(**further) -> ConfigDict:
    """What is done to images, in this order, and the other fields of what they are read from.

    Axes of the stored arrays, a letter each, as in "TYX" (empty: as the files say, or as is usual).
    The mask: "none", "hull" or "ellipse" around the foreground, or the file of a picture, in whose
    path {name} stands for that of the sequence. The foreground is where a marker's channel (empty:
    transparency, else all) differs from the "border" of the picture, or from "black", by more than
    a threshold (0: Otsu's), after a blur of so many pixels. What is outside is "kept", "cleared",
    or "closed": cleared, and no matter for the rule. Pixels an axis that are averaged into a cell.
    What comes to the middle, the "picture"'s own or the "mask"'s; whether the mask's long axis is
    turned to lie along x; the side of the square that is cut out there (0: all is kept); cells of
    nothing around it. Normalisation of each channel: "none", "range" (from 0 to 1) or "standard"
    (mean 0, deviation 1). Distance between cells (0: as the files say, else 1); walls, as
    data.boundary has them.
    """
    return ConfigDict(
        {
            "axes": "",
            "mask": "none",
            "foreground": {"marker": "", "background": "border", "blur": 1.0, "threshold": 0.0},
            "exterior": "closed",
            "downsample": 1,
            "centre": "picture",
            "turn": False,
            "crop": 0,
            "padding": 0,
            "normalisation": "none",
            "spacing": 0.0,
            "boundary": ("symmetric",),
        }
        | further
    )


def hdf5(**further) -> ConfigDict:
    """Trajectories in HDF5 files, and the layout's other fields.

    train, validation and test each name a file, a folder of .h5 or .hdf5 files, or a pattern. Where
    validation or test is empty, its trajectories are taken out of the training files, evenly among
    them. So many trajectories of each are read into memory, with so many of their first snapshots
    (0: all). Every how many-th snapshot counts.

    With `stream` those to train on stay in their files, and only the windows of a step are read;
    statistics are then taken from so many sample windows, and `scan` looks through everything once
    before training, so that a NaN is told then and not when it is drawn.
    """
    return ConfigDict(
        {
            "train": "",
            "validation": "",
            "test": "",
            "validation_trajectories": 4,
            "test_trajectories": 8,
            "snapshots": 0,
            "every": 1,
            "stream": True,
            "statistics_windows": 64,
            "scan": True,
        }
        | further
    )


def network(**further) -> ConfigDict:
    """A pointwise network of the state, wherever a term takes one, and the term's other fields.

    It sees whitened monomials up to an order (1: the species alone), and the data's environment
    with `position`; units of its hidden layers; activation by its name in flax.linen; factor on the
    last layer's first weights, and how weights are drawn: "lecun_normal", "orthogonal", "normal",
    "diagonal" or "permuted".
    """
    return ConfigDict(
        {
            "order": 1,
            "hidden": (16,),
            "activation": "tanh",
            "last_scale": 0.01,
            "initialiser": "lecun_normal",
            "position": False,
        }
        | further
    )
