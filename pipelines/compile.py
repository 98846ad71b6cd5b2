"""Compile the DAG: `python -m pipelines.compile` writes pipelines/compiled/.

    pebr_r1.yaml             Kubeflow's IR for CPUs: `pipelines.run` runs it
    cpu/argo/, cpu/kubeflow/ the same with the values of the recipe toy, as manifests for a cluster without GPUs
                             (`pipelines.forms`)
    gpu/pebr_r1.yaml, gpu/argo/, gpu/kubeflow/   for nodes with GPUs

The same source gives the same bytes: the SDK writes no time, path or host name. The result is committed; a test
compares it with newly compiled files. For another image or cluster: `PEBR_IMAGE=registry/pebr@sha256:...
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

from pebr.errors import EXIT_WRONG_INPUT, InputError
from pipelines import recipes
from pipelines.forms import folders as forms
from pipelines.ir.reader import Pipeline

COMPILED = Path(__file__).parent / "compiled"
NO_IMAGE = "registry.example/pebr@sha256:" + "0" * 64  # a placeholder: an image on GPU clusters is named by its digest


def compile_pipeline(target: Path) -> None:
    """Write the compiled pipeline to `target`, a .yaml file.

    Raises:
        InputError: the cluster file is wrong.
    """
    from pipelines.pebr_r1 import pebr_r1  # which reads the cluster file

    target.parent.mkdir(parents=True, exist_ok=True)
    Compiler().compile(pebr_r1, str(target))


def write_all(folder: Path) -> None:
    """Write every file of pipelines/compiled/ to `folder`."""
    compile_pipeline(folder / "pebr_r1.yaml")
    tiny = Pipeline(folder / "pebr_r1.yaml")
    tiny.set_defaults(recipes.load("toy", (), tiny.inputs))  # the method's numbers are for large models on GPUs
    forms.write(tiny, folder / "cpu")
    # The DAG reads the image and the cluster at import: another cluster needs another process.
    environment = os.environ | {"PEBR_IMAGE": NO_IMAGE, "PEBR_CLUSTER": "gpu"}
    command = [sys.executable, "-m", "pipelines.compile", "--into", str(folder.resolve() / "gpu")]
    subprocess.run(command, env=environment, cwd=Path(__file__).parents[1], check=True)


def main(arguments: Sequence[str] | None = None) -> int:
    """Compile from the command line; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m pipelines.compile", description="Compile the DAG.")
    parser.add_argument(
        "--into", type=Path, help="folder for the files of one cluster (default: all clusters, in pipelines/compiled)"
    )
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    if not options.into and {"PEBR_IMAGE", "PEBR_CLUSTER"} & os.environ.keys():
        parser.error("PEBR_IMAGE and PEBR_CLUSTER change the compiled files: give a folder with --into, or unset them")
    try:
        if options.into:
            compile_pipeline(options.into / "pebr_r1.yaml")
            forms.write(Pipeline(options.into / "pebr_r1.yaml"), options.into)
        else:
            write_all(COMPILED)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return EXIT_WRONG_INPUT
    logging.getLogger(__name__).info("wrote %s", options.into or COMPILED)
    return 0


if __name__ == "__main__":
    sys.exit(main())
