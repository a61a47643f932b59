"""How many devices a CPU is cut into, and whose log lines are shown."""

import logging
import os
import subprocess
import sys

import jax
import pytest

from diffpattern import start_up


@pytest.mark.parametrize(
    ("cores", "batch", "devices"),
    [(2, 16, 2), (1, 16, 1), (64, 16, 16), (12, 16, 8), (16, 16, 16), (4, 1, 1), (3, 16, 3)],
)
def test_no_more_devices_than_a_batch_keeps_busy(cores, batch, devices):
    assert start_up.virtual_devices(cores, batch) == devices


@pytest.mark.parametrize("cores", range(1, 40))
def test_fewer_devices_cost_no_time_and_one_less_would(cores):
    for batch in range(1, 40):
        devices = start_up.virtual_devices(cores, batch)
        assert 1 <= devices <= cores
        rounds = -(-batch // cores)
        assert -(-batch // devices) == rounds
        assert devices == 1 or -(-batch // (devices - 1)) > rounds


@pytest.mark.parametrize(
    ("path", "level", "shown"),
    [
        (start_up.__file__, logging.INFO, True),
        ("/site-packages/jax/_src/dispatch.py", logging.INFO, False),
        ("/site-packages/jax/_src/dispatch.py", logging.WARNING, True),
        ("/site-packages/orbax/checkpoint/manager.py", logging.INFO, False),
        ("/site-packages/orbax/checkpoint/manager.py", logging.ERROR, False),
    ],
)
def test_log_lines_are_ours_or_warnings_of_others(path, level, shown):
    record = logging.LogRecord("absl", level, path, 1, "text", (), None)
    assert start_up._is_for_the_user(record) == shown


def test_a_cpu_is_cut_into_devices_that_do_not_starve():
    """As a user starts it: no XLA_FLAGS, no NPROC."""
    script = (
        "import os, jax\n"
        "from diffpattern.configs import default\n"
        "from diffpattern.start_up import start_up\n"
        "config = default.get_config()\n"
        "config.mesh.cpu_devices = 3\n"
        "start_up(config)\n"
        "print(jax.device_count(), os.environ['NPROC'])\n"
    )
    environment = {k: v for k, v in os.environ.items() if k not in ("XLA_FLAGS", "NPROC")}
    told = subprocess.run(
        [sys.executable, "-c", script],
        env=environment | {"JAX_PLATFORMS": "cpu"},
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    ).stdout
    devices, threads = map(int, told.split())
    assert devices == 3 and threads >= 12


@pytest.fixture
def compilation(monkeypatch):
    """JAX without a folder for what it compiles; its settings as they were, afterwards."""
    names = ("jax_enable_compilation_cache", "jax_compilation_cache_dir")
    names += ("jax_persistent_cache_min_compile_time_secs",)
    before = {name: getattr(jax.config, name) for name in names}
    jax.config.update("jax_compilation_cache_dir", None)
    yield
    for name, value in before.items():
        jax.config.update(name, value)


def test_what_is_compiled_is_kept_in_the_users_cache(compilation, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    start_up.keep_compiled("")
    kept = jax.config.jax_compilation_cache_dir
    assert kept.startswith(f"{tmp_path}/diffpattern/compiled/")
    # Another version of the compiler has a folder of its own.
    monkeypatch.setattr(start_up.jaxlib, "__version__", "0")
    jax.config.update("jax_compilation_cache_dir", None)
    start_up.keep_compiled("")
    assert jax.config.jax_compilation_cache_dir not in (None, kept)


def test_a_field_moves_what_is_compiled_or_keeps_nothing(compilation, tmp_path):
    start_up.keep_compiled(str(tmp_path / "mine"))
    assert jax.config.jax_compilation_cache_dir.startswith(f"{tmp_path}/mine/")
    start_up.keep_compiled("none")
    assert not jax.config.jax_enable_compilation_cache


def test_the_environments_folder_is_left_alone(compilation):
    jax.config.update("jax_compilation_cache_dir", "/somewhere")
    start_up.keep_compiled("")
    assert jax.config.jax_compilation_cache_dir == "/somewhere"
