"""Compile the DAG: `python -m pipelines.compile` writes pipelines/compiled/.

    pebr_r1.yaml             Kubeflow's IR for processors alone: what `pipelines.run` executes here
    cpu/argo/, cpu/kubeflow/ the same for a cluster without GPUs, in the forms of `pipelines.forms`
    gpu/pebr_r1.yaml, gpu/argo/, gpu/kubeflow/   for nodes with GPUs

The same source gives the same bytes: no time, path or host name stands in what the SDK writes. The result is committed;
a test compares it with a fresh one. For another image or cluster: `PEBR_IMAGE=registry/pebr@sha256:...
PEBR_CLUSTER=mine.yaml python -m pipelines.compile --into build/mine` (see `pipelines.clusters.placement`).
"""

import argparse
import logging
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from kfp.compiler import Compiler

from pipelines.forms import folders as forms
from pipelines.ir.reader import Pipeline
from pipelines.pebr_r1 import pebr_r1

COMPILED = Path(__file__).parent / "compiled"
NO_IMAGE = "registry.example/pebr@sha256:" + "0" * 64  # GPU clusters get images by digest; nobody has pushed this one


def compile_pipeline(target: Path) -> None:
    """Write the compiled pipeline to `target`, a .yaml file."""
    target.parent.mkdir(parents=True, exist_ok=True)
    Compiler().compile(pebr_r1, str(target))


def write_all(folder: Path) -> None:
    """Write every file of pipelines/compiled/ to `folder`."""
    compile_pipeline(folder / "pebr_r1.yaml")
    forms.write(Pipeline(folder / "pebr_r1.yaml"), folder / "cpu")
    # Images and clusters stand in the DAG from its import on: another one needs another process.
    environment = os.environ | {"PEBR_IMAGE": NO_IMAGE, "PEBR_CLUSTER": "gpu"}
    command = [sys.executable, "-m", "pipelines.compile", "--into", str(folder.resolve() / "gpu")]
    subprocess.run(command, env=environment, cwd=Path(__file__).parents[1], check=True)


def main(arguments: Sequence[str] | None = None) -> None:
    """Compile from the command line."""
    parser = argparse.ArgumentParser(prog="python -m pipelines.compile", description="Compile the DAG.")
    parser.add_argument("--into", type=Path, help="folder for one cluster's files (all, in pipelines/compiled)")
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    if not options.into and {"PEBR_IMAGE", "PEBR_CLUSTER"} & os.environ.keys():
        parser.error("PEBR_IMAGE and PEBR_CLUSTER change what is compiled: give it a folder by --into, or unset them")
    if options.into:
        compile_pipeline(options.into / "pebr_r1.yaml")
        forms.write(Pipeline(options.into / "pebr_r1.yaml"), options.into)
    else:
        write_all(COMPILED)
    logging.getLogger(__name__).info("wrote %s", options.into or COMPILED)


if __name__ == "__main__":
    main()
