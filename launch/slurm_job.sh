#!/usr/bin/env bash
# The job that launch/slurm.sh submits: starts a command as one process for each task, and puts the
# job back into the queue when that was told to stop, which its exit code says, and up to 10 times
# when something did not answer, or a process was killed. Slurm takes a copy of this file alone, so
# that it cannot source common.sh, where the same is said.
set -uo pipefail

requeue=75
# Of a task that was told to stop so early that it did not listen yet.
unheard=143
unavailable=69
max_mishaps=10
[[ -z "${SLURM_ARRAY_TASK_ID:-}" ]] || set -- "$@" --sweep="$SLURM_ARRAY_TASK_ID"
# Slurm shows each task its own GPUs, of which JAX would take the n-th in the n-th task of a node.
if [[ "${SLURM_GPUS_PER_TASK:-}" =~ ([0-9]+)$ ]]; then
    JAX_LOCAL_DEVICE_IDS="$(seq -s , 0 $((BASH_REMATCH[1] - 1)))"
    export JAX_LOCAL_DEVICE_IDS
fi
# srun does not take this over from the job by itself.
[[ -z "${SLURM_CPUS_PER_TASK:-}" ]] || export SRUN_CPUS_PER_TASK="$SLURM_CPUS_PER_TASK"

# A task may be done while another still writes: that one is waited for.
srun --kill-on-bad-exit=0 "$@"
code=$?
# Slurm counts how often it has started the job again, for whatever reason.
if ((code == requeue || code == unheard)) || { ((code == unavailable || code > 128)) \
    && ((${SLURM_RESTART_COUNT:-0} < max_mishaps)); }; then
    echo "slurm_job.sh: job $SLURM_JOB_ID goes back into the queue."
    scontrol requeue "$SLURM_JOB_ID"
fi
exit "$code"
