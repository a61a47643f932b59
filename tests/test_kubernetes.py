"""The manifest for Kubernetes, held against the definitions that clusters hold it against.

Kubernetes' own come with kubernetes-validate. JobSet's are the models of kubeflow-trainer-api, made
from its definition; they pass over fields that they do not know, so these are looked for here.
"""

import copy
import functools
import json
import re
import shlex
import shutil
import subprocess
import sys
import typing
from pathlib import Path

import kubernetes_validate
import pydantic
import pytest
import yaml
from kubeflow_trainer_api import models
from kubernetes_validate import utils

from diffpattern.errors import REQUEUE

ROOT = Path(__file__).parents[1]
UNHEARD = 143  # of a run that was told to stop before it listened
FLAGS = ["--image=registry/diffpattern:1", "--claim=runs", "--workdir=runs/Pde_2"]
KINDS = {
    "gpu": ["--nodes=2", "--gpus=4"],
    "tpu": ["--tpu=tpu-v5-lite-podslice", "--topology=4x4", "--nodes=4", "--chips=4"],
}
# The oldest one where pods' failures are dealt with as here, and one as new as the package has.
VERSIONS = ["1.31", utils.latest_version()]
# Mappings from names that anyone may choose.
FREE = {"nodeSelector", "limits"}


def launch(*arguments):
    """Runs launch/kubernetes.sh; returns its exit code, stdout and stderr."""
    done = subprocess.run(
        ["bash", ROOT / "launch" / "kubernetes.sh", *arguments], capture_output=True, text=True
    )
    return done.returncode, done.stdout, done.stderr


def printed(kind, *further):
    code, out, error = launch(*FLAGS, *KINDS[kind], "--dry_run", *further)
    assert (code, error) == (0, "")
    return out


@pytest.fixture(scope="module", params=KINDS)
def manifest(request):
    return yaml.safe_load(printed(request.param, "--config=configs/pde.py"))


@pytest.fixture(autouse=True, scope="module")
def read_once():
    """The schemas are large, and the package reads them anew for each validation."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(utils, "schema_contents", functools.cache(utils.schema_contents))
        yield


def check_jobset(manifest):
    """Raises a ValueError where JobSet would refuse it."""
    require_known(manifest, models.JobsetV1alpha2JobSet, "jobset")
    # Types, but of what is the pods', whose quantities these models want in a form of their own.
    shallow = copy.deepcopy(manifest)
    for replicated in shallow["spec"]["replicatedJobs"]:
        replicated["template"]["spec"]["template"] = {}
    models.JobsetV1alpha2JobSet.model_validate(shallow)


def check_jobs(manifest):
    """Raises a ValidationError where Kubernetes would refuse the jobs, or their pods."""
    for replicated in manifest["spec"]["replicatedJobs"]:
        job = {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "job"}}
        for version in VERSIONS:
            kubernetes_validate.validate(
                job | {"spec": replicated["template"]["spec"]}, version, strict=True
            )


def require_known(value, annotation, path):
    """Raises a ValueError at the first field that the models of `annotation` do not know."""
    kinds = [annotation, *typing.get_args(annotation)]
    if isinstance(value, list):
        inner = [kind for kind in kinds if typing.get_origin(kind) is list]
        for one in value:
            require_known(one, typing.get_args(inner[0])[0], path)
        return
    found = [one for one in kinds if isinstance(one, type) and issubclass(one, pydantic.BaseModel)]
    if not isinstance(value, dict) or not found:
        return
    fields = {field.alias or name: field for name, field in found[0].model_fields.items()}
    for name, one in value.items():
        if name not in fields:
            raise ValueError(f"{path}.{name} is no field of {found[0].__name__}")
        require_known(one, fields[name].annotation, f"{path}.{name}")


def places(value, path=()):
    """The paths of all fields whose names are not free."""
    if isinstance(value, dict):
        for name, one in value.items():
            yield (*path, name)
            if name not in FREE:
                yield from places(one, (*path, name))
    elif isinstance(value, list):
        for index, one in enumerate(value):
            yield from places(one, (*path, index))


def changed(manifest, path, change):
    """A copy of it in which `change` was made to the mapping that has the last name of a path."""
    copied = copy.deepcopy(manifest)
    change(functools.reduce(lambda value, name: value[name], path[:-1], copied), path[-1])
    return copied


def test_it_is_as_the_definitions_have_it(manifest):
    assert manifest["apiVersion"] == "jobset.x-k8s.io/v1alpha2"
    check_jobset(manifest)
    check_jobs(manifest)


def test_any_misspelt_field_is_refused(manifest):
    def misspell(mapping, name):
        mapping[f"{name}s"] = mapping.pop(name)

    paths = list(places(manifest))
    of_jobs = [path for path in paths if path[3:5] == ("template", "spec") and len(path) > 5]
    assert len(paths) > 60 and len(of_jobs) > 40
    for path in paths:
        with pytest.raises(ValueError, match="is no field of"):
            check_jobset(changed(manifest, path, misspell))
    for path in of_jobs:
        with pytest.raises(kubernetes_validate.ValidationError):
            check_jobs(changed(manifest, path, misspell))


@pytest.mark.parametrize(
    "path",
    [
        "failurePolicy/maxRestarts",
        "replicatedJobs/0/replicas",
        "replicatedJobs/0/template/spec/backoffLimit",
        "replicatedJobs/0/template/spec/template/spec/terminationGracePeriodSeconds",
    ],
)
def test_a_value_of_another_type_is_refused(manifest, path):
    names = ["spec", *(int(name) if name.isdecimal() else name for name in path.split("/"))]
    wrong = changed(manifest, names, lambda mapping, name: mapping.update({name: "many"}))
    with pytest.raises((ValueError, kubernetes_validate.ValidationError)):
        check_jobset(wrong)
        check_jobs(wrong)


def test_what_is_told_to_stop_begins_again_and_bad_input_ends_it(manifest):
    policy = manifest["spec"]["failurePolicy"]
    (replicated,) = manifest["spec"]["replicatedJobs"]
    job = replicated["template"]["spec"]
    (container,) = job["template"]["spec"]["containers"]
    codes, condition = job["podFailurePolicy"]["rules"]
    assert codes["action"] == condition["action"] == "FailJob"
    assert codes["onExitCodes"]["containerName"] == container["name"]
    assert sorted(codes["onExitCodes"]["values"]) == [2, REQUEUE, UNHEARD]
    assert job["backoffLimit"] == 0 and job["completionMode"] == "Indexed"
    # The actions are words of the definition, which gives them in its description alone.
    allowed = models.JobsetV1alpha2FailurePolicyRule.model_fields["action"].description
    for rule in policy["rules"]:
        assert re.search(rf"\b{rule['action']}\b", allowed)
        assert re.fullmatch(r"[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?", rule["name"])

    def action(message):
        """What the first rule that matches does with a job that failed for its pods' failures."""
        for rule in policy["rules"]:
            patterns = rule.get("onJobFailureMessagePatterns", [])
            if not patterns or any(re.search(pattern, message) for pattern in patterns):
                return rule["action"]
        return "RestartJobSet"

    # As Kubernetes' job controller words them.
    told = (
        "Container diffpattern for pod default/x-0 failed with exit code {} matching FailJob rule"
    )
    for code in (REQUEUE, UNHEARD):
        assert action(told.format(code)) == "RestartJobSetAndIgnoreMaxRestarts"
    assert action(told.format(2)) == "FailJobSet"
    evicted = "Pod default/x-0 has condition DisruptionTarget matching FailJob rule at index 1"
    assert action(evicted) == "RestartJobSetAndIgnoreMaxRestarts"
    assert all(rule["onJobFailureReasons"] == ["PodFailurePolicy"] for rule in policy["rules"])


def test_pods_with_gpus_are_told_where_the_first_is():
    manifest = yaml.safe_load(printed("gpu"))
    (replicated,) = manifest["spec"]["replicatedJobs"]
    job = replicated["template"]["spec"]
    (container,) = job["template"]["spec"]["containers"]
    name = manifest["metadata"]["name"]
    # JobSet calls pods by its own name, the replicated job's, and two numbers.
    first = f"{name}-{replicated['name']}-0-0.{name}"
    (port,) = (port["containerPort"] for port in container["ports"])
    assert container["args"] == [
        "--workdir=runs/Pde_2", f"--coordinator={first}:{port}", "--processes=2",
        "--process=$(PROCESS)",
    ]  # fmt: skip
    assert job["parallelism"] == job["completions"] == 2
    assert container["resources"]["limits"] == {"nvidia.com/gpu": 4}
    process = container["env"][0]
    assert process["name"] == "PROCESS"
    assert "job-completion-index" in process["valueFrom"]["fieldRef"]["fieldPath"]


def test_pods_of_a_slice_find_one_another_by_themselves():
    manifest = yaml.safe_load(printed("tpu", "--name=mine"))
    assert manifest["metadata"]["name"] == "mine"
    job = manifest["spec"]["replicatedJobs"][0]["template"]["spec"]
    pod = job["template"]["spec"]
    assert pod["containers"][0]["args"] == ["--workdir=runs/Pde_2"]
    assert pod["containers"][0]["resources"]["limits"] == {"google.com/tpu": 4}
    assert pod["nodeSelector"] == {
        "cloud.google.com/gke-tpu-accelerator": "tpu-v5-lite-podslice",
        "cloud.google.com/gke-tpu-topology": "4x4",
    }


def test_flags_arrive_as_they_were_written():
    flags = ["""--config.a=("b", 'c\\d & $(HOME) # gpu')""", "--config.b=@name@ is @other@"]
    out = printed("tpu", *flags)
    job = yaml.safe_load(out)["spec"]["replicatedJobs"][0]["template"]["spec"]
    args = job["template"]["spec"]["containers"][0]["args"]
    # Kubernetes makes one $ of two before a bracket.
    assert [arg.replace("$$(", "$(") for arg in args[1:]] == flags


def test_what_is_run_is_printed_and_what_is_printed_is_run(tmp_path):
    out = printed("gpu", "--namespace=research")
    command = shlex.split(out.splitlines()[-1].removeprefix("#"))
    kubectl = tmp_path / "kubectl"
    kubectl.write_text(
        f"#!{sys.executable}\nimport json, sys\n"
        "print(json.dumps([sys.argv[1:], sys.stdin.read()]))\n"
    )
    kubectl.chmod(0o755)
    done = subprocess.run(
        ["bash", ROOT / "launch" / "kubernetes.sh", *FLAGS, *KINDS["gpu"], "--namespace=research"],
        capture_output=True,
        text=True,
        check=True,
        env={"PATH": f"{tmp_path}:/usr/bin:/bin"},
    )
    given, read = json.loads(done.stdout)
    assert ["kubectl", *given] == command
    assert read.splitlines() == out.splitlines()[:-1]
    assert yaml.safe_load(read)["metadata"]["namespace"] == "research"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (FLAGS[1:], "--image is missing"),
        (FLAGS[:2], "--workdir is ''"),
        ([*FLAGS, "--workdir=/tmp/x"], "--workdir is '/tmp/x'; it must lie in runs/"),
        ([*FLAGS, "--nodes=0"], "--nodes is '0'"),
        ([*FLAGS, "--gpus=all"], "--gpus is 'all'"),
        ([*FLAGS, "--chips=4"], "--topology and --chips are for --tpu"),
        ([*FLAGS, "--tpu=v5", "--topology=16", "--chips=4"], "--topology is '16'"),
        ([*FLAGS, "--tpu=v5", "--topology=4x4", "--gpus=4"], "--gpus and --tpu are both given"),
        ([*FLAGS, "--tpu=v5", "--topology=4x4"], "--chips is ''"),
        ([*FLAGS, "--name=Mine"], "--name is 'Mine'"),
        ([*FLAGS, f"--name={'a' * 41}"], "--name is 'aaa"),
    ],
    ids=str,
)
def test_what_cannot_be_is_told_in_a_sentence(arguments, words):
    code, out, error = launch(*arguments, "--dry_run")
    assert (code, out) == (2, "")
    assert len(error.splitlines()) == 1 and words in error


@pytest.mark.slow
def test_the_package_is_installed_from_what_the_image_takes_in(tmp_path):
    """The Dockerfile's copies are all that its installation needs, and what is ignored is not."""
    folder = ROOT / "launch" / "kubernetes"
    copies = re.findall(r"^COPY (.+)$", (folder / "Dockerfile").read_text(), re.M)
    let_in = (folder / "Dockerfile.dockerignore").read_text().split()
    for copied in copies:
        *sources, target = copied.split()
        for source in sources:
            assert f"!{source}" in let_in
            place = tmp_path / "image" / target / ("" if target != "./" else source)
            if (ROOT / source).is_dir():
                shutil.copytree(ROOT / source, place, symlinks=True)
            else:
                place.parent.mkdir(exist_ok=True, parents=True)
                shutil.copy(ROOT / source, place)
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target"]
    subprocess.run([*pip, tmp_path / "installed", "."], cwd=tmp_path / "image", check=True)
    subprocess.run(
        [sys.executable, "-c", "from diffpattern.configs import pde; print(pde.get_config())"],
        cwd=tmp_path / "installed",
        env={"PYTHONPATH": str(tmp_path / "installed")},
        check=True,
        capture_output=True,
    )
