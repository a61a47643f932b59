#!/usr/bin/env bash
# Submits a run to Slurm, or all combinations of a sweep as an array job. Call it on a node that may
# submit, in a checkout that the compute nodes see.
#
#   bash launch/slurm.sh --config=configs/pde.py --workdir=RUN [--nodes=1] [--tasks_per_node=1]
#       [--gpus_per_task=1] [--cpus_per_task=8] [--time=4:00:00] [--partition=NAME]
#       [--grace=120] [--sbatch=OPTION]... [--dry_run] [flags of diffpattern.main]
#   bash launch/slurm.sh --config=configs/sweep.py --sweep [--only=0,3] [--jobs=2] ...
#
# Each task is a process, and all of them train one run. --grace seconds before the time limit, or
# when Slurm preempts the job, the tasks are told to stop; they save a checkpoint, and the job goes
# back into the queue by itself and goes on from there. --sbatch hands on any other option of
# sbatch, such as --sbatch=--constraint=a100. Each combination of a sweep is a job of its own of
# this size, --jobs of them at a time. The log lies beside the run's folder. The first call makes
# an environment in .venv, as launch/local.sh does; EXTRAS=cuda has CUDA installed from a node
# that has no GPU.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

nodes=1
tasks_per_node=1
gpus_per_task=""
cpus_per_task=""
grace=120
sweep=false
only=""
jobs=""
config=""
workdir=""
options=()
flags=()
for flag in "$@"; do
    value="${flag#*=}"
    case "$flag" in
        --nodes=*) nodes="$value" ;;
        --tasks_per_node=*) tasks_per_node="$value" ;;
        --gpus_per_task=*) gpus_per_task="$value" ;;
        --cpus_per_task=*) cpus_per_task="$value" ;;
        --grace=*) grace="$value" ;;
        --time=*) options+=("--time=$value") ;;
        --partition=*) options+=("--partition=$value") ;;
        --sbatch=*) options+=("$value") ;;
        --sweep) sweep=true ;;
        --only=*) only="$value" ;;
        --jobs=*) jobs="$value" ;;
        --dry_run) dry_run=true ;;
        --mode | --mode=*) refuse "$flag is not for a job, which trains." ;;
        --sweep=*) refuse "$flag is one combination; --sweep --only=$value submits it." ;;
        --config=*) config="$value" && flags+=("$flag") ;;
        --workdir=*) workdir="$value" && flags+=("$flag") ;;
        --workdirs=*) workdir="$value" && flags+=("$flag") ;;
        *) flags+=("$flag") ;;
    esac
done
for name in nodes tasks_per_node grace; do require_count "$name" "${!name}"; done
for name in gpus_per_task cpus_per_task jobs; do
    [[ -z "${!name}" ]] || require_count "$name" "${!name}"
done
[[ -n "$config" ]] || refuse "--config is missing; it takes a file such as configs/pde.py."
if ! $sweep; then
    [[ -z "$only$jobs" ]] || refuse "--only and --jobs are for --sweep; leave them out."
    [[ -n "$workdir" ]] || refuse "--workdir is missing; a job that is queued again goes on there."
fi
$dry_run || command -v sbatch > /dev/null || refuse "there is no sbatch here; --dry_run needs none."

name="$(basename "${config%%:*}" .py)"
[[ -n "$workdir" ]] || workdir="runs/$name-*"
log="$(dirname "$workdir")/slurm-%j.log"
if $sweep; then
    find_pending "$only" "${flags[@]}"
    [[ ${#pending[@]} -gt 0 ]] || exit 0
    numbers="$(IFS=, && echo "${pending[*]}")"
    options+=("--array=$numbers${jobs:+%$jobs}")
    log="$(dirname "$workdir")/slurm-%A-%a.log"
else
    make_environment
    name="$(basename "$workdir")"
fi
[[ -z "$gpus_per_task" ]] || options+=("--gpus-per-task=$gpus_per_task")
[[ -z "$cpus_per_task" ]] || options+=("--cpus-per-task=$cpus_per_task")

run mkdir -p "$(dirname "$workdir")"
run sbatch --job-name="$name" --output="$log" --open-mode=append --requeue \
    --signal="TERM@$grace" --nodes="$nodes" --ntasks-per-node="$tasks_per_node" "${options[@]}" \
    "$checkout/launch/slurm_job.sh" "$python" -m diffpattern.main "${flags[@]}"
