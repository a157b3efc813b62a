"""``cryosam batch``."""

import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cryosam.cli.options import PathType, SearchCommand, example
from cryosam.cli.progress import say_time
from cryosam.cli.structure_options import structure_options
from cryosam.errors import CryosamError

if TYPE_CHECKING:
    from cryosam.batch.coordinator import Backend, Plan
    from cryosam.batch.jobs import Job, Outcome
    from cryosam.batch.project import Project
    from cryosam.batch.structure_choices import StructureChoices
    from cryosam.batch.summary import Totals

__all__ = ["batch"]

_FAILED = 1
_SHOWN = 20  # names in a list on the screen


@click.command(
    cls=SearchCommand,
    epilog=example(
        "cryosam batch project.toml --dry-run",
        "cryosam batch project.toml --workers 4",
        "cryosam batch project.toml --retry-failed",
        "cryosam batch project.toml --kind er --structure membrane --spacing 150",
    ),
)
@click.argument("project", type=PathType)
@click.option(
    "--out", type=PathType, metavar="DIR", help="Folder for all results; replaces the one in the project file."
)
@click.option(
    "--name",
    metavar="PATTERN",
    help="Name of each tomogram, such as {file} or {folder}; replaces the one in the project file.",
)
@click.option(
    "--kind",
    "kinds",
    metavar="NAME",
    multiple=True,
    help="Name of the kind that the --structure and --spacing after it are for; repeatable.",
)
@structure_options
@click.option(
    "--workers",
    type=click.IntRange(min=1),
    metavar="N",
    help="Tomograms processed at the same time.  [default: one per GPU, otherwise one per core, as memory allows]",
)
@click.option(
    "--retry-failed", is_flag=True, help="Also retry tomograms that failed and whose input has not changed since."
)
@click.option(
    "--shard",
    metavar="I/N",
    help="Process only part I of N, as one job of a job array; all parts may run at the same time.",
)
@click.option(
    "--parsl",
    "parsl_file",
    type=PathType,
    metavar="FILE.py",
    help="Run on the machines that this Parsl configuration defines.",
)
@click.option("--dry-run", is_flag=True, help="Only list what would be done, and from which points.")
@click.pass_obj
def batch(
    command: str,
    project: Path,
    out: Path | None,
    name: str | None,
    kinds: dict[str, Any],
    structures: dict[str | None, Any],
    spacings: dict[str | None, float],
    workers: int | None,
    retry_failed: bool,
    shard: str | None,
    parsl_file: Path | None,
    dry_run: bool,
) -> None:
    """Search many tomograms as described in a PROJECT file; run it again to continue where it stopped.

    \b
    The file is in TOML format, for example:
      tomograms = "tomograms/*.mrc"
      query = "ribosome.npz"
      out = "results"

    With clicks on membranes, filaments or compartments, say so with --structure here or with structure = "membrane" in
    the file.

    Tomograms that were finished with the same settings and files are not processed again. If a tomogram fails, the
    others continue; the exit code is 1 if any has failed.
    """  # noqa: D301  # \b tells click not to join these lines
    from cryosam.batch.coordinator import plan_batch, run_batch, take_shard
    from cryosam.batch.ledger import Ledger
    from cryosam.batch.project import read_project

    if workers is not None and parsl_file is not None:
        raise click.UsageError(
            "--workers is for this machine only; the configuration of --parsl sets its own number; leave one out"
        )
    choices = _choices(kinds, structures, spacings)
    whole = read_project(project, out=out, name=name, choices=choices, command=command)
    part = take_shard(whole, shard)
    if dry_run:
        _say_plan(part, plan_batch(part, retry_failed=retry_failed), with_names=True)
        return
    with Ledger(whole.out).project(is_shared=shard is not None):
        plan = plan_batch(part, retry_failed=retry_failed)
        _say_plan(part, plan)
        if plan.waiting:
            with _backend(parsl_file) as backend:
                _follow(run_batch(part, plan, backend=backend, n_workers=workers), len(plan.waiting))
        from cryosam.batch.summary import write_summary  # pandas takes its time to import

        totals = write_summary(whole)
    _say_totals(totals, whole)
    if set(totals.failed) & {job.name for job in part.jobs} or totals.unwritten:
        click.get_current_context().exit(_FAILED)


def _choices(
    kinds: Iterable[str], structures: Mapping[str | None, Any], spacings: Mapping[str | None, float]
) -> "StructureChoices":
    """What the command line says of each kind; what stands before the first kind is for all."""
    from cryosam.batch.structure_choices import ALL, StructureChoices

    if idle := [name for name in kinds if name not in structures and name not in spacings]:
        raise click.UsageError(
            f"--kind {idle[0]} says which kind the --structure or --spacing after it is for; add one of them"
        )
    return StructureChoices(
        structures={ALL if name is None else name: value for name, value in structures.items()},
        spacings={ALL if name is None else name: value for name, value in spacings.items()},
    )


@contextmanager
def _backend(parsl_file: Path | None) -> "Iterator[Backend | None]":
    """Open the backend that runs the jobs; None stands for this machine."""
    if parsl_file is None:
        yield None
        return
    from cryosam.batch.cluster import parsl_backend

    with parsl_backend(parsl_file) as backend:
        yield backend


def _say_plan(project: "Project", plan: "Plan", *, with_names: bool = False) -> None:
    """Print how many tomograms are left to do."""
    n = len(project.jobs)
    click.echo(
        f"{n} tomogram{'' if n == 1 else 's'}: {len(plan.waiting)} to do, {len(plan.finished)} done"
        + (f", {len(plan.failed)} failed before (add --retry-failed to retry them)" if plan.failed else "")
    )
    if with_names:
        for job in plan.waiting:
            _say_job(job)
        for name, reason in plan.failed.items():
            click.echo(f"failed: {name}: {reason}")


def _say_job(job: "Job") -> None:
    """Print what would be done with a tomogram, and which points are its own."""
    from cryosam.batch.work import describe_points

    try:
        points, reason = describe_points(job), ""
    except CryosamError as error:
        points, reason = "no points", str(error)
    click.echo(f"to do: {job.name} ({job.path}): {points}")
    if reason:
        click.secho(f"cryosam: {job.name} would fail: {reason}", fg="yellow", err=True)


def _follow(outcomes: "Iterator[Outcome]", n: int) -> None:
    """Print the outcome of each tomogram and the estimated time for the rest."""
    start = time.monotonic()
    for done, outcome in enumerate(outcomes, start=1):
        left = (time.monotonic() - start) / done * (n - done)
        rest = f"{done} of {n}" + (f", about {say_time(left)} left" if done < n else "")
        if outcome.status == "done":
            found = outcome.found or f"{outcome.n_particles} particle{'' if outcome.n_particles == 1 else 's'}"
            click.echo(f"{outcome.name}: {found} in {say_time(outcome.seconds)} ({rest})")
        elif outcome.status in ("failed", "killed"):
            click.secho(f"cryosam: {outcome.name} failed: {outcome.reason} ({rest})", fg="yellow", err=True)
        else:
            click.echo(f"{outcome.name}: {outcome.reason or 'finished by another process meanwhile'} ({rest})")


def _say_totals(totals: "Totals", project: "Project") -> None:
    """Print the failures and how many of each kind the whole project has."""
    for name, reason in list(totals.failed.items())[:_SHOWN]:
        click.secho(f"cryosam: failed: {name}: {reason}", fg="yellow", err=True)
    if len(totals.failed) > _SHOWN:
        click.secho(f"cryosam: {len(totals.failed) - _SHOWN} more failed, see summary.csv", fg="yellow", err=True)
    for reason in totals.unwritten:
        click.secho(f"cryosam: not written: {reason}", fg="yellow", err=True)
    counts = ", ".join(f"{n} {kind}" for kind, n in totals.n_particles.items()) or "no particles"
    waiting = f", {totals.n_waiting} waiting" if totals.n_waiting else ""
    click.echo(f"{totals.n_done} done, {len(totals.failed)} failed{waiting}: {counts}")
    click.echo(f"open {project.out / 'summary.html'}")
