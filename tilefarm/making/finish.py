"""What is made of a run when its picture is done: the plot of the losses, and the animation."""

from __future__ import annotations

from tilefarm import faults
from tilefarm.events import Listener
from tilefarm.making.animation import make_animation
from tilefarm.making.losses import write_losses
from tilefarm.plan.build import RenderPlan
from tilefarm.rundir.layout import RunDir
from tilefarm.spec.model import Job


def finish(job: Job, plan: RenderPlan, run: RunDir, listen: Listener) -> bool:
    """Make what is not there yet, or not as the job asks for it now; whether an animation was made.

    Raises what `make_animation` and `write_losses` raise. The picture has been written by then.
    """
    if not (run.losses.exists() and run.loss_table.exists()):
        write_losses(run)
        faults.reached("finish: losses drawn")
    return job.animation is not None and make_animation(job.animation, plan, run, listen)
