"""A Slurm of one node, made of Debian's packages for as long as it is needed.

    apt-get install slurm-wlm munge
    python tests/one_node_slurm.py sinfo

starts one, runs the command in it, and stops it again. It needs root, but neither systemd nor
anything in /etc: its files lie in a folder of its own, its ports are free ones. The node pretends
to have four cores and two GPUs. A job of the partition "urgent" preempts those of "main", which are
told so by SIGTERM, have a minute to end, and are queued again.
"""

import contextlib
import dataclasses
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "srun", "scontrol")
NODE = "localhost"
CONFIGURATION = """
ClusterName=one
SlurmctldHost={node}(127.0.0.1)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
# What was queued again may begin again when the credentials of its last begin have expired.
AuthInfo=socket={folder}/munge.socket,cred_expire=5
CredType=cred/munge
SlurmctldPort={controller_port}
SlurmdPort={node_port}
StateSaveLocation={folder}/controller
SlurmdSpoolDir={folder}/node
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SwitchType=switch/none
MpiDefault=none
JobAcctGatherType=jobacct_gather/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerType=sched/backfill
SchedulerParameters=sched_interval=2,bf_interval=2
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
ReturnToService=2
KillWait=5
SlurmdParameters=config_overrides
GresTypes=gpu
NodeName={node} NodeAddr=127.0.0.1 CPUs=4 RealMemory=1000 Gres=gpu:2 State=UNKNOWN
PartitionName=main Nodes={node} Default=YES PriorityTier=1 GraceTime=60
PartitionName=urgent Nodes={node} PriorityTier=2 PreemptMode=OFF
"""
# Devices that are there anyway stand for the GPUs, for Slurm does no more than count them.
GPUS = """
Name=gpu File=/dev/null
Name=gpu File=/dev/zero
"""


def missing() -> str | None:
    """Why there can be no such Slurm here, or None."""
    if os.geteuid() != 0:
        return "Slurm's daemons are started as root here"
    absent = [name for name in PROGRAMS if shutil.which(name, path=_path()) is None]
    return (
        f"{', '.join(absent)} not installed (apt-get install slurm-wlm munge)" if absent else None
    )


@dataclasses.dataclass(frozen=True)
class OneNodeSlurm:
    """A running one.

    Attributes:
      folder: of its configuration, state and logs.
      environment: for processes that are to use it.
    """

    folder: Path
    environment: Mapping[str, str]

    def call(self, *command: str | Path, cwd: Path | None = None) -> str:
        """Runs a command that uses it; returns what that wrote to stdout.

        Raises:
          RuntimeError: it failed.
        """
        done = subprocess.run(
            command, capture_output=True, text=True, env=self.environment, cwd=cwd, timeout=300
        )
        if done.returncode:
            raise RuntimeError(f"{command} ended with {done.returncode}: {done.stderr.strip()}")
        return done.stdout

    def job(self, number: str) -> dict[str, str]:
        """What Slurm knows of a job, as in JobState, Restarts and ExitCode."""
        told = self.call("scontrol", "--oneliner", "show", "job", number)
        return dict(word.split("=", 1) for word in told.splitlines()[0].split() if "=" in word)

    def wait(self, number: str, *states: str, seconds: float) -> dict[str, str]:
        """Waits until a job is in one of the states; returns what Slurm knows of it then.

        Raises:
          TimeoutError: it was not within that time.
        """
        end = time.monotonic() + seconds
        while (job := self.job(number))["JobState"] not in states:
            if time.monotonic() > end:
                raise TimeoutError(f"Job {number} is not {' or '.join(states)}, but {job}.")
            time.sleep(0.5)
        return job


@contextlib.contextmanager
def one_node_slurm(folder: Path) -> Iterator[OneNodeSlurm]:
    """Starts a Slurm whose files lie in `folder`, and stops it at the end with all of its jobs.

    Raises:
      RuntimeError: it does not come up.
    """
    controller_port, node_port = _free_ports(2)
    fields = {
        "node": NODE,
        "folder": folder,
        "controller_port": controller_port,
        "node_port": node_port,
    }
    (folder / "slurm.conf").write_text(CONFIGURATION.format(**fields))
    (folder / "gres.conf").write_text(GPUS)
    (folder / "cgroup.conf").write_text("CgroupAutomount=no\n")
    for name in ("controller", "node"):
        (folder / name).mkdir()
    (folder / "munge.key").write_bytes(os.urandom(1024))
    (folder / "munge.key").chmod(0o600)
    environment = os.environ | {"SLURM_CONF": str(folder / "slurm.conf"), "PATH": _path()}
    slurm = OneNodeSlurm(folder, environment)
    munge = [f"--{name}={folder}/munge.{name}" for name in ("socket", "pid-file", "log-file")]
    munge += [f"--key-file={folder}/munge.key", f"--seed-file={folder}/munge.seed", "--force"]
    daemons = []
    try:
        # In the foreground, each in a session of its own: a daemon that is its parent's can be
        # waited for, and what interrupts the parent leaves it to be stopped in order.
        for command in (
            ["munged", "--foreground", *munge],
            ["slurmctld", "-D", "-c"],
            ["slurmd", "-D", "-N", NODE],
        ):
            log = (folder / f"{command[0]}.out").open("wb")
            daemons.append(
                subprocess.Popen(
                    command,
                    env=environment,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                )
            )
            if command[0] == "munged":
                _wait_until((folder / "munge.socket").exists, slurm, daemons)
        _wait_until(lambda: _is_idle(slurm), slurm, daemons)
        yield slurm
    finally:
        with contextlib.suppress(RuntimeError, subprocess.TimeoutExpired):
            slurm.call("scancel", "--user=root")
            slurm.call("scancel", "--user=root", "--signal=KILL", "--full")
            _wait_until(lambda: not slurm.call("squeue", "--noheader").strip(), slurm, daemons)
        for daemon in reversed(daemons):
            daemon.terminate()
            try:
                daemon.wait(timeout=15)
            except subprocess.TimeoutExpired:
                daemon.kill()
                daemon.wait()


def _wait_until(holds, slurm: OneNodeSlurm, daemons: Sequence[subprocess.Popen]) -> None:
    """Waits for a condition, for half a minute at most.

    Raises:
      RuntimeError: it did not come about, or a daemon ended meanwhile.
    """
    end = time.monotonic() + 30
    while not holds():
        ended = [daemon.args[0] for daemon in daemons if daemon.poll() is not None]
        if ended or time.monotonic() > end:
            logs = "\n".join(
                f"{path.name}: {path.read_text(errors='replace')[-2000:]}"
                for path in sorted(slurm.folder.glob("*.log"))
            )
            raise RuntimeError(f"Slurm did not come up ({ended or 'time is up'}):\n{logs}")
        time.sleep(0.2)


def _is_idle(slurm: OneNodeSlurm) -> bool:
    try:
        return " State=IDLE " in slurm.call("scontrol", "--oneliner", "show", "node", NODE)
    except RuntimeError:
        return False


def _free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]


def _path() -> str:
    """Where programs are looked for: Debian's daemons lie where root alone looks."""
    return f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"


if __name__ == "__main__":
    if reason := missing():
        sys.exit(reason)
    with tempfile.TemporaryDirectory(prefix="slurm-") as name, one_node_slurm(Path(name)) as slurm:
        sys.exit(subprocess.run(sys.argv[1:], env=slurm.environment).returncode)
