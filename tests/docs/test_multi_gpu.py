"""The launch commands of the page on several GPUs mean something to torchrun, to Slurm's shell and to Kubernetes."""

import re
import shlex
from pathlib import Path

import pytest
import yaml
from torch.distributed.run import get_args_parser

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "guides" / "multi-gpu.md").read_text(encoding="utf-8")


def manifests(name: str) -> list[dict]:
    """The documents of a file that the page writes."""
    (text,) = re.findall(rf"^cat > {name} <<'YAML'\n(.*?)^YAML$", PAGE, re.DOTALL | re.MULTILINE)
    return list(yaml.safe_load_all(text))


def commands() -> list[list[str]]:
    """Every torchrun command of the page, variables replaced by a number, with its arguments."""
    text = PAGE.replace("\\\n", " ").replace("\n              --nproc", " --nproc")
    found = [re.split(r"\s+#|'$|`|, and| types", line)[0] for line in re.findall(r"torchrun (--.*)", text)]
    found += [
        " ".join(
            manifests("pytorchjob.yaml")[0]["spec"]["pytorchReplicaSpecs"]["Master"]["template"]["spec"]["containers"][0][
                "command"
            ][1:]
        )
    ]
    return [shlex.split(re.sub(r"\$\w+", "1", line)) for line in found]


def test_every_torchrun_command_is_one() -> None:
    whole = [command for command in commands() if "-m" in command]
    assert len(whole) >= 6
    for command in whole:
        parsed = get_args_parser().parse_args(command)
        assert (parsed.module, parsed.training_script) == (True, "qrdistill")
        assert parsed.training_script_args[0] == "run"


def test_pods_find_the_first_one() -> None:
    service, job = manifests("train.yaml")
    pod = job["spec"]["template"]["spec"]
    (address,) = re.findall(r"--master-addr (\S+)", pod["containers"][0]["args"][0])
    assert address == f"{job['metadata']['name']}-0.{pod['subdomain']}"
    assert service["metadata"]["name"] == pod["subdomain"]
    assert service["spec"]["selector"] == {"job-name": job["metadata"]["name"]}
    assert job["spec"]["completionMode"] == "Indexed"
    assert f"--nnodes {job['spec']['completions']} " in pod["containers"][0]["args"][0]
    mounted = {mount["name"] for mount in pod["containers"][0]["volumeMounts"]}
    assert mounted == {volume["name"] for volume in pod["volumes"]}


@pytest.mark.parametrize("role", ["Master", "Worker"])
def test_the_operator_starts_both_kinds_of_pods(role: str) -> None:
    (job,) = manifests("pytorchjob.yaml")
    assert job["kind"] == "PyTorchJob"
    assert job["spec"]["pytorchReplicaSpecs"][role]["template"]["spec"]["containers"][0]["name"] == "pytorch"
