"""The steps of ``segment``, ``pick``, ``mask`` and ``query``: check the input, compute, write, report the result."""

import time
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import click
import numpy as np

from cryosam import segmentation
from cryosam.backends.weights import MODELS, locate
from cryosam.cli.options import open_cache
from cryosam.cli.point_frame import PointFrame, naming_options
from cryosam.cli.progress import show_progress
from cryosam.cli.structures import (
    Kind,
    find_chosen,
    report_map,
    report_queries,
    save_structures,
    spacings_of,
    structure_steps,
    suggest_structure,
    take_structures,
)
from cryosam.config import Config, read_config
from cryosam.errors import OutputExistsError, PointsFileError
from cryosam.full_map import FullMap
from cryosam.io import read_info, read_search_mask, read_tomogram
from cryosam.io.exports import check_exports
from cryosam.io.folders import check_output
from cryosam.io.locations import RemotePath
from cryosam.io.queries import read_queries, write_queries
from cryosam.io.results import RunInfo, write_segmentation
from cryosam.io.structure_files import write_map
from cryosam.prompts import PointPrompts
from cryosam.results import Segmentation, Trust
from cryosam.saved_query import SavedQuery
from cryosam.scene import RunOptions
from cryosam.steps import MASKS, SEARCH, Steps
from cryosam.structure_query import StructureQuery
from cryosam.structure_scene import with_straightened
from cryosam.tomogram import Tomogram

__all__ = ["build_config", "report_findings", "run"]

_SETTINGS = {
    "features": "features__backend",
    "segmenter": "propagation__segmenter",
    "diameter": "diameter_angstrom",
    "contrast": "tomogram__contrast",
    "tilt_range": "tomogram__tilt_range",
    "tilt_axis": "tomogram__tilt_axis",
    "edge_margin": "matching__edge_margin",
    "threshold": "matching__threshold",
    "max_false_discovery": "matching__max_false_discovery",
    "max_particles": "matching__max_particles",
    "device": "device",
    "memory_gb": "memory_gb",
}


_NO_NAME = "particle"


def run(steps: Literal["segment", "pick", "segment_prompts"], options: dict[str, Any], command: str) -> None:
    """Run a function of `cryosam.segmentation` as the options say; all input is checked before the long computation."""
    started, clock = datetime.now(UTC).isoformat(timespec="seconds"), time.perf_counter()
    config = build_config(options)
    queries = [query for file in options.get("queries", ()) for query in read_queries(file)]
    _require_prompts(options, has_queries=bool(queries))
    check_output(options["out"], overwrite=options["overwrite"])
    path: Path = options["tomogram"]
    tomogram = _read_tomogram(options)
    info = read_info(path)
    n_voxels = tomogram.data.size
    check_output(options["out"], overwrite=options["overwrite"], n_bytes=4 * n_voxels)  # labels, mask, score map
    exports, pixel_size = options.get("exports", ()), options.get("tilt_series_pixel_size")
    named = [query.name for query in queries]
    kinds: list[Kind] = [*(_read_prompts(options, tomogram, named) if _has_points(options) else ()), *queries]
    _require_particles(steps, queries)
    _require_clicks(options, named)
    check_exports(exports, tomogram.voxel_size_angstrom, pixel_size, [each.name for each in kinds])
    given = RunOptions()
    if steps != "segment_prompts":
        given = RunOptions(
            search_mask=read_search_mask(options["search_mask"], tomogram.shape),
            n_trials=options["trials"],
            cache=open_cache(options["cache"], options["no_cache"]),
        )
    kinds, structures = take_structures(options, tomogram, kinds, config)
    if len(structures) < len(kinds):
        _require_models(config, steps)

    n_searches = len(kinds) * (1 + given.n_trials)
    following = Steps(MASKS) if steps == "segment_prompts" else Steps(SEARCH, n_searches)
    if structures:
        following = structure_steps(kinds, structures)
    with show_progress(following) as progress:
        given = replace(given, progress=progress)
        found: Segmentation | FullMap
        if structures:
            found = find_chosen(steps, tomogram, kinds, structures, config, given)
        elif len(kinds) > 1 or options.get("kinds"):
            found = segmentation.segment_kinds(tomogram, _particles(kinds), config, given)
            found = found.without_masks() if steps == "pick" else found
        else:
            found = getattr(segmentation, steps)(tomogram, kinds[0], config, given)
        information = RunInfo(
            command=command,
            input_path=str(info.path if isinstance(info.path, RemotePath) else info.path.absolute()),
            started=started,
            seconds=round(time.perf_counter() - clock, 2),
            origin_angstrom=info.origin_angstrom,
            config=config,
            exports=exports,
            tilt_series_pixel_size_angstrom=pixel_size,
        )
        given_out = {"tomogram": tomogram, "run": information, "overwrite": options["overwrite"]}
        if isinstance(found, FullMap):
            found = with_straightened(found, tomogram, config)
            folder = write_map(options["out"], found, prompts=kinds, spacings=spacings_of(options, found), **given_out)
        else:
            prompts = _particles(kinds)
            folder = write_segmentation(
                options["out"], found, prompts=prompts if found.kinds else prompts[0], **given_out
            )
    if isinstance(found, FullMap):
        report_map(found, folder, time.perf_counter() - clock)
    else:
        report_findings(found, folder, time.perf_counter() - clock)
        if steps == "segment":
            suggest_structure(options, tomogram, kinds, config, found)


def make_query(options: dict[str, Any]) -> None:
    """Search for the kinds in the options, and save queries to find them in other tomograms."""
    config, out = build_config(options), options["out"]
    _require_prompts(options, has_queries=False)
    if out.suffix != ".npz":
        raise click.UsageError(f"the file name of a query must end in .npz, got {out}")
    if out.exists() and not options["overwrite"]:
        raise OutputExistsError(f"{out} exists already; choose another name, or add --overwrite")
    check_output(out.absolute().parent, overwrite=True)
    tomogram = _read_tomogram(options)
    mask = read_search_mask(options["search_mask"], tomogram.shape)
    kinds, structures = take_structures(options, tomogram, _read_prompts(options, tomogram), config)
    particles = [each for each in kinds if isinstance(each, PointPrompts) and each.name not in structures]
    if particles:
        _require_models(config, "query")
    cache = open_cache(options["cache"], options["no_cache"])
    queries: list[SavedQuery | StructureQuery] = []
    with show_progress(structure_steps(kinds, structures) if structures else Steps(SEARCH, len(kinds))) as progress:
        given = RunOptions(search_mask=mask, cache=cache, progress=progress)
        described = save_structures(tomogram, kinds, structures, config, given)
        queries += [query for query, _ in described]
        found = None
        if particles:
            saved, found = segmentation.make_queries(tomogram, particles, config, given)
            queries += saved
    order = [each.name for each in kinds]
    order = [structures.get(name, name) if name == "particle" else name for name in order]  # as queries are named
    write_queries(out, sorted(queries, key=lambda query: order.index(query.name)))
    report_queries(described)
    if found is not None:
        for warning in found.warnings:
            click.secho(f"cryosam: warning: {warning}", fg="yellow", err=True)
        for query, part in zip(saved, found.kinds or (found,), strict=True):
            n = query.n_particles
            click.echo(f"{query.name}: {n} particle{'' if n == 1 else 's'}{_details(part)}")
    click.echo(f"saved the query in {out}; use it: cryosam segment OTHER.mrc --query {out} --out results")


def build_config(options: dict[str, Any]) -> Config:
    """Combine the settings: a preset, overridden by the settings file, overridden by the options."""
    preset, file = options.get("preset"), options.get("config_file")
    config = Config.from_preset(preset or "embedded")
    if file is not None:
        config = read_config(file, config)
        if preset is not None and config.preset != preset:
            raise click.UsageError(
                f"--preset {preset} contradicts {file}, which sets preset {config.preset}; leave one out"
            )
    changes = {path: options[name] for name, path in _SETTINGS.items() if options.get(name) is not None}
    return config.override(**changes)


def report_findings(found: Segmentation, folder: Path, seconds: float) -> None:
    """Print the number of particles and the report's path on stdout, and warnings on stderr."""
    for warning in found.warnings:
        click.secho(f"cryosam: warning: {warning}", fg="yellow", err=True)
    for part in found.kinds:
        click.echo(f"{part.kind}: {len(part.points)}{_details(part)}")
    n = len(found.points)
    details = "" if found.kinds else _details(found)
    for part in found.kinds or (found,):
        if part.trust is not None:
            click.echo(_say_trust(part.kind, part.trust))
    click.echo(f"{n} particle{'' if n == 1 else 's'} in {seconds:.0f} s{details}")
    click.echo(f"open {folder / 'report.html'}")


def _details(found: Segmentation) -> str:
    """Format the threshold and the number of detections that are expected to be false."""
    threshold = "" if found.threshold is None else f", threshold {found.threshold:.3f}"
    false = found.report.expected_false
    return threshold + ("" if false is None else f", about {false:.1f} of them expected to be false")


def _say_trust(kind: str, trust: Trust) -> str:
    """Say in one line how much the result depends on the click."""
    name = f"{kind}: " if kind != _NO_NAME else ""
    agreement = (
        f"{name}searches from {len(trust.clicks) - 1} other clicks agree with this result, F1 {trust.agreement[0]:.2f}"
    )
    if trust.better_click is None:
        return agreement
    return agreement + f"; a better click would be {','.join(f'{c:.0f}' for c in trust.better_click)}"


def _require_particles(steps: str, queries: Sequence[SavedQuery | StructureQuery]) -> None:
    """Refuse a query for something else where only particles are found."""
    odd = [query for query in queries if isinstance(query, StructureQuery)]
    if steps == "pick" and odd:
        raise click.UsageError(
            f"cryosam pick finds particles, and query {odd[0].name!r} finds {odd[0].structure}s; use cryosam segment"
        )


def _require_clicks(options: dict[str, Any], queries: Sequence[str]) -> None:
    """Refuse what is said of a kind that a query finds and has no effect, and kinds without a click or a query."""
    for name, (points, negatives) in options.get("kinds", {}).items():
        if name in queries and negatives:
            raise click.UsageError(f"--negative has no effect on kind {name}, which a query finds; leave it out")
        if name not in queries and not points and options["points_file"] is None:
            raise click.UsageError(f"kind {name} has no point; add --point Z,Y,X after --kind {name}")


def _particles(kinds: Sequence[Kind]) -> list[PointPrompts | SavedQuery]:
    """The kinds that are no queries for structures."""
    return [each for each in kinds if not isinstance(each, StructureQuery)]


def _require_prompts(options: dict[str, Any], *, has_queries: bool) -> None:
    """Make sure that the options say what to search for."""
    if not _has_points(options) and not has_queries:
        also = " or --query FILE.npz" if "queries" in options else ""
        raise click.UsageError(f"no particle is given; add --point Z,Y,X or --points FILE{also}")
    if has_queries and options.get("trials"):
        raise click.UsageError(
            "--trials compares the click with other clicks, but a query has no click in this tomogram; leave one out"
        )


def _has_points(options: dict[str, Any]) -> bool:
    """Whether the options give a click in this tomogram."""
    return bool(options["points"]) or options["points_file"] is not None


def _read_tomogram(options: dict[str, Any]) -> Tomogram:
    """Read the tomogram; --name replaces the name of its file."""
    tomogram = read_tomogram(options["tomogram"], options["voxel_size"])
    return replace(tomogram, name=options["name"] or tomogram.name)


def _read_prompts(options: dict[str, Any], tomogram: Tomogram, queries: Sequence[str] = ()) -> list[PointPrompts]:
    """Read and check the points of the command line and the file; one entry per kind, without those of queries."""
    given = options.get("kinds", {}).items()
    kinds = {name: [*map(list, both)] for name, both in given if both[0] or name not in queries}
    if not kinds:
        kinds = {_NO_NAME: [list(options["points"]), list(options.get("negatives", ()))]}
    file = options["points_file"]
    if file is not None:
        frame = PointFrame(shape=tomogram.shape, voxel_size_angstrom=tomogram.voxel_size_angstrom, name=tomogram.name)
        with naming_options("--voxel-size"):
            table = frame.read(file, options["axes"])
        if len(set(table.names or ())) > 1 or options.get("kinds"):
            if table.names is None:
                raise PointsFileError(
                    f"{file}: the points have no names, so their kinds are unknown; add names, or leave out --kind"
                )
            if kinds.get(_NO_NAME, [[]])[0]:
                raise PointsFileError(
                    f"{file}: the points are of several kinds; put --kind NAME before each --point too"
                )
            kinds.pop(_NO_NAME, None)
            for name, point in zip(table.names, table.points.tolist(), strict=True):
                kinds.setdefault(name, [[], []])[0].append(point)
        else:
            kinds[_NO_NAME][0] += table.points.tolist()
            kinds = {(table.names or (_NO_NAME,))[0]: kinds[_NO_NAME]}
        if not len(table):
            raise PointsFileError(f"{file}: the file has no points")
    prompts = []
    for name, (positive, negative) in kinds.items():
        points = np.array([*positive, *negative], dtype=float).reshape(-1, 3)
        if not positive:
            raise click.UsageError(f"kind {name} has no point; add --point Z,Y,X after --kind {name}")
        prompts.append(PointPrompts(points, np.arange(len(points)) < len(positive), name))
        prompts[-1].validate(tomogram.shape)
    return prompts


def _require_models(config: Config, steps: str) -> None:
    """Check before the long computation that no weights are missing."""
    needs_none = {model.name for model in MODELS if not model.hub_id}
    names = [config.propagation.segmenter] + ([] if steps == "segment_prompts" else [config.features.backend])
    for name in names:
        if name not in needs_none:
            locate(name)
