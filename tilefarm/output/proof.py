"""The soft proof that lies beside an output file."""

from __future__ import annotations

from pathlib import Path

from tilefarm.errors import JobError
from tilefarm.files import remove_leftovers
from tilefarm.geometry import Size
from tilefarm.image.proof import load_press, write_proof
from tilefarm.spec.file_form import FileForm
from tilefarm.spec.proof import Proof, proof_path


def proof_beside(canvas: Path, size: Size, output: Path, proof: Proof, form: FileForm) -> str:
    """Write NAME-proof.png for a raw canvas of `size`, and say in one sentence what it found.

    `form` is the output's: its resolution, and what the canvas's numbers mean. The canvas streams, and the
    same one gives the same bytes. Raises JobError where the profile cannot be used any more, ResourceError
    where the disk is full.
    """
    try:
        press = load_press(proof.profile)
    except ValueError as error:
        raise JobError(f"output.proof.profile {error}") from None
    target = proof_path(output)
    remove_leftovers(target)
    found = write_proof(
        canvas, size, target, press, proof.intent, proof.paper_white, form.dpi, wide=form.wide
    )
    return f"{target} shows the print: {found.sentence}"
