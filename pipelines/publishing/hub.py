"""Pushes a model to the Hugging Face hub, or to the server in HF_ENDPOINT; HF_TOKEN must allow writing there."""

import re
from collections.abc import Mapping

from huggingface_hub import HfApi
from huggingface_hub.errors import HTTPError  # of its HTTP client: a refusal, or a lost connection

from pebr.errors import InputError
from pipelines.publishing.copying import copied
from pipelines.targets import TargetError

REPOSITORY = re.compile(r"hf://([\w.-]+/[\w.-]+)(?:@([\w./-]+))?")


def repository(address: str) -> tuple[str, str | None]:
    """The repository and the branch of `hf://organisation/name[@branch]`.

    Raises:
        InputError: it is not written like that.
    """
    found = REPOSITORY.fullmatch(address)
    if not found:
        raise InputError(
            f"--push {address}: write it as hf://organisation/name or hf://organisation/name@branch, or as"
            " oci://registry/name for an image"
        )
    return found[1], found[2]


def push(model: str, address: str, files: Mapping[str, str], message: str) -> str:
    """Upload a model in one commit; a repository that is not there is created, and is private. Returns its URL.

    Args:
        model: location of the model's files; they are copied to this machine first.
        address: as `repository` takes it.
        files: further texts, by file name; they replace the model's own.
        message: of the commit.

    Raises:
        TargetError: the hub cannot be reached or refuses the upload.
    """
    name, branch = repository(address)
    api = HfApi()
    with copied(model, files) as here:
        try:
            api.create_repo(name, private=True, exist_ok=True)
            if branch:
                api.create_branch(name, branch=branch, exist_ok=True)
            commit = api.upload_folder(repo_id=name, folder_path=here, revision=branch, commit_message=message)
        except HTTPError as error:
            said = " ".join(str(error).split())[:300]
            raise TargetError(f"--push {address}: {said}: check the name, and that HF_TOKEN may write") from error
    return str(commit.commit_url)
