"""The command line, in processes of its own: what is wrong is told in one sentence."""

import json
import os
import pty
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest
import tifffile
from PIL import Image
from tiny_runs import listing

from diffpattern import commands
from diffpattern.api.loading import load
from diffpattern.training.metrics import read_scalars

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("test_main")]

ROOT = Path(__file__).parents[1]
TINY = [
    "--config=configs/pde.py",
    "--config.data.shape=(8, 8)",
    "--config.data.interval=2",
    "--config.data.end_time=8",
    "--config.data.train=2",
    "--config.data.validation=1",
    "--config.data.test=2",
    "--config.model.rda.polynomial.order=1",
    "--config.training.batch=2",
    "--config.training.steps=2",
    "--config.training.checkpoint_every=1",
    "--config.evaluation.report=False",
]

SWEEP = "--config=configs/sweep.py"
PREDICT = ["--mode=predict", "--workdir=RUN", "--output=WORK/out.npz"]
STARTED = ["--mode=predict", "--workdir=RUN", "--input=WORK/whole.npy", "--times=0:8:2"]
HOME = Path.home()
BAD_SWEEP = """
from diffpattern.configs.pde import get_config
def get_sweep():
    return [{"seed": 1}, {"sed": 2}]
"""

# Imports the command line once and runs each of many command lines in a fork of that, one JSON
# list of arguments a line; answers with exit code, stdout and stderr.
SERVER = """
import json, os, runpy, sys, tempfile
from diffpattern import evaluate, start_up, train
for line in sys.stdin:
    files = [tempfile.TemporaryFile("w+") for _ in range(2)]
    child = os.fork()
    if child == 0:
        for number, file in enumerate(files, 1):
            os.dup2(file.fileno(), number)
        sys.argv[1:] = json.loads(line)
        try:
            runpy.run_module("diffpattern.main", run_name="__main__", alter_sys=True)
            code = 0
        except SystemExit as error:
            code = error.code or 0
        except BaseException:
            import traceback
            traceback.print_exc()
            code = 70
        print("SPY", "tensorflow" in sys.modules)
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    texts = []
    for file in files:
        file.seek(0)
        texts.append(file.read())
    print(json.dumps([code, *texts]), flush=True)
"""


def environment(data):
    """As it was before the tests set devices, with folders for data and compiled programs."""
    plain = {
        name: value
        for name, value in os.environ.items()
        if name not in ("XLA_FLAGS", "NPROC", "OPENBLAS_NUM_THREADS", "TF_CPP_MIN_LOG_LEVEL")
    }
    return plain | {
        "XLA_FLAGS": "--xla_force_host_platform_device_count=3",
        "DIFFPATTERN_DATA": str(data),
    }


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return tmp_path_factory.mktemp("data")


@pytest.fixture(scope="module")
def diffpattern(data):
    """A function from arguments to exit code, stdout and stderr."""
    server = subprocess.Popen(
        [sys.executable, "-c", SERVER],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        cwd=ROOT,
        env=environment(data),
    )

    def call(*arguments):
        server.stdin.write(json.dumps([str(argument) for argument in arguments]) + "\n")
        server.stdin.flush()
        return json.loads(server.stdout.readline())

    yield call
    server.stdin.close()
    server.wait()


@pytest.fixture(scope="module")
def trained(tmp_path_factory, data):
    """A run by a process that notes what TensorFlow does in it, its output, and those notes."""
    path = tmp_path_factory.mktemp("trained") / "run"
    spy = """
import builtins, sys, threading
compiling = threading.Event()
def note_import(name, *arguments, load=builtins.__import__, **options):
    if name.partition(".")[0] == "tensorflow" and "tensorflow" not in sys.modules:
        # Held up until the trainer compiles, which it would not if it waited for the import.
        beside = compiling.wait(30)
        name_of_thread = threading.current_thread().name
        sys.stdout.write(f"SPY imports it in {name_of_thread}, beside training: {beside}\\n")
    return load(name, *arguments, **options)
from diffpattern import main, train

builtins.__import__ = note_import
def note_compile(*arguments, compile=train.compiled):
    compiling.set()
    return compile(*arguments)
train.compiled = note_compile
main.app.run(main.main, flags_parser=main._parse)
"""
    done = subprocess.run(
        [sys.executable, "-c", spy, *TINY, f"--workdir={path}"],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env=environment(data),
    )
    assert done.returncode == 0, done.stderr
    return path, done


def assert_refused(result, *words):
    code, out, error = result
    assert code == 2, error
    assert "Traceback" not in error
    told = [line for line in error.splitlines() if not re.match(r"[IW]\d{4} |[+|]|Total", line)]
    assert len(told) == 1, error
    assert told[0].startswith("diffpattern: ")
    assert told[0].endswith(".")
    assert "scores" not in out.lower()
    for word in words:
        assert str(word) in told[0]


# What is wrong with a command line, and words that the answer has; RUN is a run and WORK a folder.
WRONG = [
    (["--config=none.py"], ["none.py"]),
    (["--config=README.md"], ["README.md"]),
    (["--config=configs/pde.py", "--config.training.step=3"], ["training.steps"]),
    (["--config=configs/pde.py", "--config.training.steps=many"], ["training.steps", "many"]),
    (["--config=configs/pde.py", "--config.training.steps=1.5"], ["training.steps", "1.5"]),
    (["--config=configs/pde.py", "--config.data.shape=(8,"], ["data.shape"]),
    (["--config=configs/pde.py", "--config.data.shape=(8,'a')"], ["data.shape", "'a'"]),
    (["--config=configs/pde.py", "--config.data.shape=(8,8,8,8)"], ["data.shape", "axes"]),
    (["--config=configs/pde.py", "--config.data.dt=-1"], ["data.dt", "-1"]),
    (["--config=configs/pde.py", "--config.data.boundary=open"], ["data.boundary", "zero"]),
    (["--config=configs/pde.py", "--config.solver.dt=-1"], ["solver.dt", "-1"]),
    (["--config=configs/pde.py", "--config.solver.name=rk"], ["solver.name", "heun"]),
    (["--config=configs/pde.py", "--config.training.window=65"], ["training.window", "64"]),
    (["--config=configs/pde.py", "--config.mesh.data=9"], ["mesh.data", "3 devices"]),
    (["--config=configs/pde.py", "--config.loss.l1=1"], ["loss.l1", "l2"]),
    (["--config=configs/pde.py", "--config.model.name=my_lab:Rule"], ["model.name", "my_lab"]),
    (["--config=configs/pde.py", "--config.model.own.width=3"], ["model.own.width", "pde.py"]),
    (["--config=configs/pde.py", "--config.precision=half"], ["precision", "float64"]),
    (["--config=configs/pde.py", "--config.profile.steps=-1"], ["profile.steps", "-1"]),
    (["--config=configs/pde.py", "--config.optimiser.name=adamm"], ["optimiser.name", "adam"]),
    (["--config=configs/pde.py", "--workdi=runs"], ["workdi", "workdir"]),
    (["--config=configs/pde.py", "--mode=fly"], ["--mode", "train|eval"]),
    (["--config=configs/pde.py", "--step=3"], ["--step", "--mode=eval"]),
    (["--config=configs/pde.py", "extra"], ["extra"]),
    (["--config.seed=3"], ["--config=FILE"]),
    ([], ["--config"]),
    (["--mode=data"], ["--mode=data", "--config"]),
    (["--mode=data", "--config=configs/pde.py", "--step=3"], ["--step", "--mode=eval"]),
    (["--mode=data", "--config=configs/pde.py", "--config.data.dt=-1"], ["data.dt", "-1"]),
    (["--mode=data", *TINY, "--workdir=/proc/run"], ["/proc/run"]),
    (["--mode=eval"], ["--workdir"]),
    (["--mode=export"], ["--mode=export needs --workdir"]),
    (["--mode=export", "--workdir=WORK/thesis"], ["WORK/thesis", "config.json"]),
    (["--mode=check"], ["--mode=check", "--config"]),
    (["--mode=check", *TINY, "--workdir=RUN"], ["--workdir", "--mode=check"]),
    (["--mode=check", "--config=configs/pde.py", "--config.data.dt=-1"], ["data.dt", "-1"]),
    (["--mode=simulate", "--config=configs/pde.py"], ["--mode=simulate needs --output"]),
    (["--mode=simulate", *TINY, "--output=WORK/a.mp3"], ["WORK/a.mp3", ".npz"]),
    (["--mode=simulate", *TINY, "--output=WORK/thesis"], ["WORK/thesis", "empty"]),
    (["--mode=simulate", *TINY, "--output=/proc/a.npy"], ["/proc/a.npy"]),
    (["--mode=predict", "--workdir=RUN"], ["--mode=predict needs --input"]),
    ([*PREDICT, "--input=a.npy"], ["--mode=predict needs --times"]),
    ([*PREDICT, "--input=a.npy", "--times=0:1"], ["--times", "FIRST:LAST:STEP"]),
    ([*PREDICT, "--input=WORK/none.npy", "--times=0:8:2"], ["WORK/none.npy"]),
    ([*PREDICT, "--input=WORK/thesis/text.tex", "--times=0:8:2"], ["text.tex", "images"]),
    (["--mode=eval", "--step=a", "--workdir=runs"], ["--step", "a"]),
    (["--mode=report"], ["--mode=report", "--workdir"]),
    (["--mode=report", "--workdir=WORK/none"], ["WORK/none", "config.json"]),
    (["--mode=report", "--workdir=RUN", "--step=1"], ["--step", "--mode=eval"]),
    (["--mode=eval", "--workdir=WORK", "--config=configs/pde.py"], ["--config"]),
    (["--mode=eval", "--workdir=WORK/none"], ["WORK/none", "config.json"]),
    (["--mode=eval", "--workdir=WORK/thesis"], ["WORK/thesis", "config.json"]),
    ([*TINY, "--workdir=WORK/thesis"], ["WORK/thesis", "--workdir"]),
    ([*TINY, "--workdir=WORK/thesis/text.tex"], ["WORK/thesis/text.tex"]),
    ([*TINY, "--workdir=/proc/run"], ["/proc/run"]),
    ([*TINY, "--workdir=RUN", "--config.seed=1"], ["seed", "RUN"]),
    (["--mode=eval", "--workdir=RUN", "--step=999"], ["RUN/checkpoints/999"]),
    (["--mode=export", "--workdir=RUN", "--step=999"], ["RUN/checkpoints/999"]),
    (["--config=configs/pde.py", "--sweep=0"], ["configs/pde.py", "get_sweep()"]),
    ([SWEEP, "--sweep=6"], ["--sweep is 6", "0 to 5"]),
    ([SWEEP, "--sweep=-1"], ["--sweep is -1", "0 to 5"]),
    ([SWEEP, "--sweep=best"], ["--sweep", "best"]),
    ([SWEEP, "--sweep=0", "--config.optimiser.optax.learning_rate=1"], ["learning_rate", "0"]),
    (["--config=WORK/bad.py", "--sweep=1"], ["Combination 1", "no field sed", "seed"]),
    (["--mode=sweep", "--config=WORK/bad.py"], ["Combination 1", "no field sed", "seed"]),
    (["--mode=sweep"], ["--mode=sweep", "--config"]),
    (["--mode=sweep", SWEEP, "--sweep=1"], ["--sweep", "--mode=train", "--mode=sweep"]),
    (["--mode=sweep", SWEEP, "--workdirs=WORK/one"], ["WORK/one", "one *"]),
    ([SWEEP, "--sweep=1", "--workdirs=WORK/one"], ["WORK/one", "one *"]),
    ([SWEEP, "--sweep=1", "--workdirs=WORK/thesi*"], ["WORK/thesi001"]),
    ([SWEEP, "--workdirs=WORK/one-*"], ["--workdirs", "--sweep"]),
    (
        [SWEEP, "--sweep=1", "--workdirs=WORK/*", "--workdir=WORK/a"],
        ["--workdirs", "--workdir"],
    ),
    (["--mode=compare"], ["--mode=compare", "--workdirs"]),
    (["--mode=compare", "--workdirs=WORK/none-*"], ["WORK/none-*", "nothing"]),
    (["--mode=compare", "--workdirs=WORK/thesis"], ["WORK/thesis", "config.json"]),
    (["--mode=compare", "--workdirs=RUN,WORK/*"], ["WORK/bad.py", "config.json"]),
    (["--mode=compare", "--workdirs=RUN", "--output=/proc/a.html"], ["/proc/a.html"]),
    (["--mode=compare", "--workdir=RUN"], ["--workdir", "--mode=compare"]),
    (["--output=a.html", "--config=configs/pde.py"], ["--output", "--mode=compare"]),
    ([*TINY, "--processes=2", "--process=0"], ["--processes and --process", "--coordinator"]),
    ([*TINY, "--coordinator=a", "--processes=2", "--process=0"], ["--coordinator is 'a'"]),
    ([*TINY, "--processes=two"], ["--processes", "two"]),
    (["--mode=data", *TINY, "--process=1"], ["--process", "--mode=train and --mode=eval"]),
    (["--mode=plan"], ["--mode=plan", "--config"]),
    (["--mode=plan", "--config=configs/pde.py", "--config.mesh.rows=7"], ["mesh.rows", "7"]),
    (["--mode=plan", "--config=configs/pde.py", "--config.mesh.rows=0"], ["mesh.rows", "0"]),
    (["--mode=plan", *TINY, "--workdir=RUN"], ["--workdir", "--mode=plan"]),
    (["--mode=plan", *TINY, "--sweep=1"], ["configs/pde.py", "get_sweep()"]),
    (["--mode=check", *TINY, "--sweep=0"], ["configs/pde.py", "get_sweep()"]),
    (["--mode=check", *TINY, "--config.solver.dt=0.3"], ["solver.dt", "0.3"]),
    (["--mode=data", *TINY, "--config.data.train=0"], ["data.train", "0"]),
    (["--mode=simulate"], ["--mode=simulate needs --output"]),
    (["--mode=simulate", "--output=WORK/a.npy"], ["--mode=simulate", "--config"]),
    (["--mode=sweep", "--config=configs/pde.py"], ["configs/pde.py", "get_sweep()"]),
    (["--mode=report", "--workdir=WORK/thesis"], ["WORK/thesis", "config.json"]),
    (["--mode=report", "--workdir=WORK/bad.py"], ["WORK/bad.py"]),
    (["--mode=export", "--workdir=RUN", "--step=a"], ["--step", "a"]),
    (["--mode=export", "--workdir=RUN", "--output=a.html"], ["--output", "--mode=compare"]),
    ([*PREDICT, "--input=WORK/narrow.npy", "--times=0:8:2"], ["(8, 8, 1)", "A, B"]),
    ([*PREDICT, "--input=WORK/gaps.npy", "--times=0:8:2"], ["finite"]),
    ([*PREDICT, "--input=WORK/whole.npy", "--times=0:8:0.3"], ["0.3"]),
    ([*PREDICT, "--input=WORK/whole.npy", "--times=8:0:2"], ["--times", "8:0:2"]),
    ([*PREDICT, "--input=WORK/whole.npy", "--times=0:8:2", "--step=999"], ["999"]),
    ([*PREDICT, "--input=WORK/whole.npy", "--times=0:8:2", "--seed=a"], ["--seed", "a"]),
    (["--mode=eval", "--workdir=RUN", "--output=a.npy"], ["--output", "--mode=eval"]),
    # A ~ is the user's home.
    (["--config=~/none.py"], [f"{HOME}/none.py"]),
    (["--config=~/none.json"], [f"{HOME}/none.json"]),
    (["--mode=eval", "--workdir=~/none"], [f"{HOME}/none"]),
    (["--mode=compare", "--workdirs=RUN,~/none-*"], [f"{HOME}/none-*"]),
    (["--mode=simulate", *TINY, "--output=~/a.mp3"], [f"{HOME}/a.mp3"]),
    ([*PREDICT, "--input=~/none.npy", "--times=0:8:2"], [f"{HOME}/none.npy"]),
    # Nothing is overwritten.
    ([*STARTED, "--output=WORK/whole.npy"], ["WORK/whole.npy", "there already"]),
    (["--mode=simulate", *TINY, "--output=WORK/gaps.npy"], ["WORK/gaps.npy", "there already"]),
    (["--mode=compare", "--workdirs=RUN", "--output=WORK/bad.py"], ["WORK/bad.py", "comparison"]),
    ([*PREDICT, "--input=WORK/whole.npy", "--times=0:8:2", "--seed=-1"], ["--seed is -1"]),
    (
        [*PREDICT, "--input=WORK/whole.npy", "--times=0:8:2", "--seed=99999999999"],
        ["--seed is 99999999999", "4294967295"],
    ),
    ([*PREDICT, "--input=WORK/whole.npy", "--times=0:inf:1"], ["--times", "more than"]),
    ([*PREDICT, "--input=WORK/whole.npy", "--times=0:1e9:1e-3"], ["--times", "longer step"]),
    ([*PREDICT, "--input=WORK/empty.npy", "--times=0:8:2"], ["WORK/empty.npy", "ends before"]),
    ([*PREDICT, "--input=WORK/text.npy", "--times=0:8:2"], ["WORK/text.npy", "no numbers"]),
    ([*PREDICT, "--input=WORK/words.npy", "--times=0:8:2"], ["WORK/words.npy", "str"]),
    ([*PREDICT, "--input=WORK/complex.npy", "--times=0:8:2"], ["WORK/complex.npy", "complex128"]),
    ([*PREDICT, "--input=WORK/gaps.npy", "--times=0:8:4"], ["WORK/gaps.npy", "NaN"]),
    (
        ["--mode=check", "--config=configs/pde.py", "--config.data.shape=(1000000,1000000)"],
        ["PB of memory"],
    ),
    (
        ["--mode=check", "--config=configs/pde.py", "--config.data.shape=(100000,100000)"],
        ["of memory", "lattice"],
    ),
    (
        ["--mode=data", "--config=configs/pde.py", "--config.data.shape=(1000000,1000000)"],
        ["PB of memory"],
    ),
    (["--mode=check", *TINY, "--config.training.batch=1000000000"], ["windows of a batch"]),
    (["--mode=check", *TINY, "--config.training.batch=10000000000"], ["training.batch", "most"]),
    (["--mode=check", *TINY, "--config.data.end_time=1e30"], ["data.end_time", "data.interval"]),
    (["--mode=check", *TINY, "--config.data.spacing=1e9"], ["memory", "data.spacing"]),
    (["--mode=check", *TINY, "--config.loss.time_weights=((1,),)"], ["loss.time_weights"]),
    # What is meant is said.
    (["--mode=predict", "--input=a.npy"], ["needs --workdir: the run's folder."]),
    (["--mode=tran", "--config=configs/pde.py"], ["--mode=tran", "the nearest is train."]),
    (["--config=configs/pde.py", "--config.training.steps=abc"], ["a whole number, such as 20"]),
    (["--config=configs/pde.py", "--config.training.steps="], ["''", "a whole number"]),
    (["--config=configs/pde.py", "--config.solver.dt=fast"], ["solver.dt is 'fast'", "a number"]),
    (["--config=configs/pde.py", "--config.evaluation.report=perhaps"], ["True or False"]),
    (["--config=configs/pde.py", "--config.model.name=math:Foo"], ["nothing called 'Foo'."]),
    (["--mode=eval", "--workdir=RUN/config.json"], ["RUN/config.json is a file", "folder"]),
]


@pytest.mark.parametrize(
    ("arguments", "words"), WRONG, ids=lambda value: " ".join(map(str, value[-2:]))
)
def test_bad_input_is_told_in_a_sentence(diffpattern, trained, tmp_path, arguments, words):
    run = trained[0]
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "text.tex").write_text("all of it")
    (tmp_path / "thesi001").mkdir()
    (tmp_path / "thesi001" / "text.tex").write_text("some of it")
    (tmp_path / "bad.py").write_text(BAD_SWEEP)
    for name, shape, value in (("narrow", 1, 0.5), ("gaps", 2, np.nan), ("whole", 2, 0.5)):
        np.save(tmp_path / f"{name}.npy", np.full((8, 8, shape), value))
    (tmp_path / "empty.npy").write_bytes(b"")
    (tmp_path / "text.npy").write_text("no array")
    np.save(tmp_path / "words.npy", np.full((8, 8, 2), "half"))
    np.save(tmp_path / "complex.npy", np.full((8, 8, 2), 0.5 + 0.5j))
    fill = lambda text: text.replace("WORK", str(tmp_path)).replace("RUN", str(run))
    before = listing(tmp_path), listing(run), sorted(path.name for path in ROOT.iterdir())
    assert_refused(diffpattern(*map(fill, arguments)), *map(fill, words))
    assert (listing(tmp_path), listing(run), sorted(path.name for path in ROOT.iterdir())) == before


def test_wrong_input_is_known_of_every_mode():
    asked = [" ".join(arguments) for arguments, _ in WRONG]
    assert len(set(asked)) == len(WRONG) >= 60
    for mode in commands.MODES:
        flag = f"--mode={mode}"
        rows = [
            line for line in asked if flag in line or ("--mode=" not in line and mode == "train")
        ]
        assert len(rows) >= 5, mode


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("cut.png", "cannot be read"),
        ("text.png", "cannot be read"),
        ("cut.tif", "cannot be read"),
        ("nan.npy", "1 pixels that are NaN or infinite, the first in frame 1"),
        ("none.png", "is no file"),
        ("empty", "is a folder without images"),
        ("text.npy", "holds no numbers in the way of NumPy"),
    ],
)
@pytest.mark.parametrize("mode", ["train", "data"])
def test_data_that_cannot_be_read_are_told_and_nothing_written(
    diffpattern, tmp_path, mode, name, told
):
    frames = np.random.default_rng(0).random((3, 8, 8))
    Image.fromarray(np.uint8(255 * frames[0])).save(tmp_path / "whole.png")
    (tmp_path / "cut.png").write_bytes((tmp_path / "whole.png").read_bytes()[:60])
    (tmp_path / "text.png").write_text("no picture")
    tifffile.imwrite(tmp_path / "whole.tif", frames, photometric="minisblack")
    (tmp_path / "cut.tif").write_bytes((tmp_path / "whole.tif").read_bytes()[:700])
    (tmp_path / "empty").mkdir()
    (tmp_path / "text.npy").write_text("no array")
    frames[1, 2, 3] = np.nan
    np.save(tmp_path / "nan.npy", frames)
    before, run = listing(tmp_path), tmp_path / "run"
    arguments = ["--config=configs/pde.py", "--config.data.name=images", f"--mode={mode}"]
    arguments += [f"--config.data.images.train={tmp_path / name}", f"--workdir={run}"]
    assert_refused(diffpattern(*arguments), tmp_path / name, told)
    assert listing(tmp_path) == before


@pytest.mark.parametrize("name", ["metrics", "checkpoints"])
def test_what_cannot_be_written_is_told_in_a_sentence(diffpattern, trained, tmp_path, name):
    run = shutil.copytree(trained[0], tmp_path / "run")
    shutil.rmtree(run / name)
    (run / name).symlink_to("nowhere")
    more = [*TINY, "--config.training.steps=4", f"--workdir={run}"]
    assert_refused(diffpattern(*more), run / name)


def test_a_loss_that_is_not_finite_names_the_last_good_checkpoint(diffpattern, tmp_path):
    sgd = {"learning_rate": 1e20, "clip_norm": 0, "warmup_steps": 0, "schedule": "constant"}
    huge = [f"--config.optimiser.optax.{field}={value}" for field, value in sgd.items()]
    run = tmp_path / "run"
    result = diffpattern(*TINY, "--config.optimiser.name=sgd", *huge, f"--workdir={run}")
    assert_refused(result, "not finite at step 2", run / "checkpoints" / "1")


def test_help_fits_a_screen(diffpattern):
    _, out, error = diffpattern("--help")
    assert len((out + error).splitlines()) < 30
    for flag in ("--config", "--workdir", "--mode", "--step"):
        assert flag in out
    assert not error


def test_a_run_tells_what_it_does(trained):
    path, done = trained
    lines = done.stderr.splitlines()
    assert str(path) in lines[0]
    assert str(path) in lines[-1]
    assert "polynomial/coefficients" in done.stderr
    assert "step 1 of 2" in done.stderr
    assert re.search(r"step 2 of 2 .* steps/s  0:00 left$", done.stderr, re.MULTILINE)
    # No line but ours, and the table of parameters.
    ours = r"I\d{4} [\d:.]+ +\d+ (commands|train|evaluate|metrics|builders)\.py:\d+\] "
    assert [line for line in lines if not re.match(rf"{ours}|[+|]|Total", line)] == []
    assert "median NRMSE" in done.stdout
    assert str(path / "eval" / "scores.json") in done.stdout
    facts = json.loads((path / "run.json").read_text())
    assert facts["sessions"][0]["config"] == "configs/pde.py"
    assert len(facts["sessions"][0]["devices"]) == 3


def test_tensorflow_is_imported_beside_training_only(trained):
    notes = re.findall(r"SPY (.*)", trained[1].stdout)
    assert len(notes) == 1 and notes[0].endswith("beside training: True")
    assert "MainThread" not in notes[0]
    names = [path.name for path in (trained[0] / "metrics").iterdir()]
    assert any(name.startswith("events.out.tfevents") for name in names)


def test_evaluation_needs_the_folder_alone_and_no_tensorflow(diffpattern, trained, tmp_path):
    run = shutil.copytree(trained[0], tmp_path / "elsewhere")
    code, out, error = diffpattern("--mode=eval", f"--workdir={run}", "--step=1")
    assert code == 0, error
    assert "SPY False" in out
    assert json.loads((run / "eval" / "scores.json").read_text())["step"] == 1


def test_a_run_is_repeated_by_what_run_json_says_to_the_bit(diffpattern, trained, tmp_path):
    code, _, error = diffpattern(
        f"--config={trained[0] / 'run.json'}", f"--workdir={tmp_path / 'again'}"
    )
    assert code == 0, error
    first, again = (load(path) for path in (trained[0], tmp_path / "again"))
    jax.tree.map(np.testing.assert_array_equal, first.params, again.params)
    assert first.config == again.config and first.scores == again.scores


def test_a_run_is_exported_from_its_folder_alone(diffpattern, trained, tmp_path):
    run = shutil.copytree(trained[0], tmp_path / "elsewhere")
    code, out, error = diffpattern("--mode=export", f"--workdir={run}")
    assert code == 0, error
    assert f"Explorer: {run / 'explorer.html'}" in out
    assert "SPY False" in out  # TensorFlow is not needed
    page = (run / "explorer.html").read_text()
    assert "gray_scott: elsewhere" in page and 'class="equation"' in page


def test_data_are_shown_before_training(diffpattern, tmp_path):
    code, out, error = diffpattern("--mode=data", *TINY, f"--workdir={tmp_path / 'run'}")
    assert code == 0, error
    assert "A, B on 8 x 8 cells" in out
    assert "train: 2 trajectories of 5 snapshots, from t = 0 to 8" in out
    assert f"Picture: {tmp_path / 'run' / 'data.png'}" in out
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["data.png"]
    assert "SPY False" in out  # TensorFlow is not needed


def test_a_mesh_of_1024_devices_is_planned_as_the_page_says(diffpattern):
    """The first command of docs/scaling.md prints what stands below it there."""
    blocks = re.findall(r"^```\n(.*?)^```", (ROOT / "docs/scaling.md").read_text(), re.M | re.S)
    command, page = blocks[:2]
    python, _, module, *flags = shlex.split(command.replace("\\\n", ""))
    assert (python, module) == ("python", "diffpattern.main")
    code, out, error = diffpattern(*flags)
    assert code == 0, error
    printed, page = out[: out.index("SPY")].split(), page.split()
    assert len(printed) == len(page)
    # What is computed and needed is up to the compiler, a little.
    for word, expected in zip(printed, page, strict=True):
        if re.search(r"\d\.\d", expected):
            figures = [float(text.strip("%")) for text in (word, expected)]
            assert figures[0] == pytest.approx(figures[1], rel=0.05), out
        else:
            assert word == expected, out
    for exact in (page[:6], page[page.index("sends") :][:9]):
        assert " ".join(exact) in " ".join(printed)


def test_a_sweep_is_listed(diffpattern, tmp_path):
    code, out, error = diffpattern("--mode=sweep", SWEEP, f"--workdirs={tmp_path}/*")
    assert code == 0, error
    rows = re.findall(rf"^ +(\d) +new +{tmp_path}/00\1  .*learning_rate=", out, re.MULTILINE)
    assert rows == list("012345")
    assert not list(tmp_path.iterdir())


def test_a_run_is_compared_and_left_as_it_is(diffpattern, trained, tmp_path):
    run, before = trained[0], listing(trained[0])
    page = tmp_path / "page.html"
    code, out, error = diffpattern("--mode=compare", f"--workdirs={run}", f"--output={page}")
    assert code == 0, error
    assert re.search(r"^run +2 +\d", out, re.MULTILINE)  # its name, its steps, its loss
    assert f"Page: {page}" in out
    assert "SPY False" in out  # TensorFlow is not needed
    assert page.read_text().startswith("<!DOCTYPE html>")
    assert listing(run) == before


def test_a_terminal_gets_a_bar_and_the_run_goes_on(trained, tmp_path, data):
    run = shutil.copytree(trained[0], tmp_path / "run")
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "diffpattern.main", *TINY]
        + ["--config.training.steps=4", f"--workdir={run}"],
        stdout=subprocess.PIPE,
        stderr=theirs,
        cwd=ROOT,
        env=environment(data),
    )
    os.close(theirs)
    shown = b""
    while True:
        try:
            shown += os.read(ours, 4096)
        except OSError:  # the other end is closed
            break
    assert process.wait() == 0
    text = shown.decode()
    assert "Going on from step 2 of 4" in text
    assert re.search(r"\r.*4/4 \[", text)
    assert [row["step"] for row in read_scalars(run / "metrics" / "scalars.jsonl")] == [1, 2, 3, 4]
