#!/usr/bin/env bash
# Trains one run on a Kubernetes cluster that has JobSet (0.10.1 or newer), on nodes with GPUs or on
# a TPU slice of Google's.
#
#   bash launch/kubernetes.sh --image=IMAGE --claim=CLAIM --config=configs/pde.py
#       --workdir=runs/RUN [--nodes=2] [--gpus=8] [flags of diffpattern.main]
#   bash launch/kubernetes.sh ... --tpu=tpu-v5-lite-podslice --topology=4x4 --nodes=4 --chips=4 ...
#       [--name=NAME] [--namespace=default] [--max_restarts=10] [--grace=120] [--dry_run]
#
# The image is made by launch/kubernetes/Dockerfile, and has the config files. The claim is one of a
# PersistentVolume that all nodes may write to; it is mounted as the folder runs, so --workdir lies
# below that. --gpus are those of each node, --chips those of each host of the slice. A run that is
# told to stop goes on in new pods, bad input ends it, and anything else that fails is tried again
# --max_restarts times. --dry_run prints the manifest and the command.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

# The fields of the manifest.
declare -A given=([image]="" [claim]="" [name]="" [namespace]=default [nodes]=1 [gpus]="" [tpu]=""
    [topology]="" [chips]="" [max_restarts]=10 [grace]=120)
workdir=""
flags=()
for flag in "$@"; do
    name="${flag%%=*}" && name="${name#--}"
    if [[ "$flag" == --dry_run ]]; then
        dry_run=true
    elif [[ "$flag" == --*=* && -n "${given[$name]+field}" ]]; then
        given[$name]="${flag#*=}"
    else
        [[ "$name" != workdir ]] || workdir="${flag#*=}"
        flags+=("$flag")
    fi
done
for name in image claim; do
    [[ -n "${given[$name]}" ]] || refuse "--$name is missing; see the head of this file."
done
[[ "$workdir" == runs/?* ]] || refuse "--workdir is '$workdir'; it must lie in runs/, as runs/mine."
if [[ -n "${given[tpu]}" ]]; then
    other=gpu
    # JAX has the coordinator there on a TPU.
    given[port]=8482
    [[ -z "${given[gpus]}" ]] || refuse "--gpus and --tpu are both given; leave one out."
    [[ "${given[topology]}" =~ ^[0-9]+(x[0-9]+)+$ ]] \
        || refuse "--topology is '${given[topology]}'; write it as 4x4."
    require_count chips "${given[chips]}"
else
    other=tpu
    given[port]=1234
    [[ -z "${given[topology]}${given[chips]}" ]] \
        || refuse "--topology and --chips are for --tpu; leave them out."
    given[gpus]="${given[gpus]:-1}"
    require_count gpus "${given[gpus]}"
fi
for name in nodes max_restarts grace; do require_count "$name" "${given[$name]}"; done
if [[ -z "${given[name]}" ]]; then
    given[name]="$(basename "$workdir" | tr '[:upper:]_.' '[:lower:]--')"
fi
# Pods are called by these, and by what is appended in names of at most 63 letters.
for name in name namespace claim; do
    [[ "${given[$name]}" =~ ^[a-z]([-a-z0-9]*[a-z0-9])?$ && ${#given[$name]} -le 40 ]] \
        || refuse "--$name is '${given[$name]}'; it must be small letters, digits and hyphens."
done
$dry_run || command -v kubectl > /dev/null \
    || refuse "there is no kubectl here; --dry_run needs none."

# quoted TEXT: as YAML has it, with what Kubernetes would take for a variable left as it is.
quoted() {
    local text="${1//\\/\\\\}"
    text="${text//\"/\\\"}"
    printf '"%s"' "${text//\$(/\$\$(}"
}

args=()
for flag in "${flags[@]}"; do args+=("$(quoted "$flag")"); done
# JAX finds the hosts of a TPU by itself; pods with GPUs are told of the first.
if [[ "$other" == tpu ]] && ((given[nodes] > 1)); then
    coordinator="${given[name]}-hosts-0-0.${given[name]}:${given[port]}"
    # shellcheck disable=SC2016
    args+=("\"--coordinator=$coordinator\"" "\"--processes=${given[nodes]}\""
        '"--process=$(PROCESS)"')
fi
for name in image tpu; do given[$name]="$(quoted "${given[$name]}")"; done

filled="$(sed "/ # $other\$/d; s/ # [gt]pu\$//" "$checkout/launch/kubernetes/jobset.yaml")"
for name in "${!given[@]}"; do filled="${filled//@$name@/"${given[$name]}"}"; done
# Last, for they may hold anything.
filled="${filled/@args@/"[$(IFS=, && echo "${args[*]}")]"}"

apply=(kubectl apply --filename=- --namespace="${given[namespace]}")
if $dry_run; then
    echo "$filled"
    echo "# ${apply[*]}"
else
    "${apply[@]}" <<< "$filled"
fi
