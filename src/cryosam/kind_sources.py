"""A saved query and a tomogram: what is kept of a search, and how another tomogram is searched with it.

The feature is kept as it is: dense descriptors are in units of the background's noise, which makes them comparable
between tomograms, and tokens of a 2D model are compared by their direction only.
"""

from dataclasses import replace

import numpy as np
from jaxtyping import Float, Int

from cryosam.classification.kind_average import Known
from cryosam.errors import QueryError
from cryosam.instances.instance_segmenter import InstanceSegmenter
from cryosam.instances.prompted import Prompted
from cryosam.instances.smoothing import Smoothed
from cryosam.matching.features import FeatureField
from cryosam.results import Average, Segmentation
from cryosam.run import Run, octave
from cryosam.saved_query import SavedQuery, Witnesses

__all__ = ["fit_run", "known", "recall", "require_same_features", "save_query"]

_SAME = 1e-4  # relative difference of voxel sizes that are one
_LARGEST_RATIO = 2.0  # of voxel sizes
_MOST_MEMBERS = 20  # that the average counts for
_MOST_WITNESSES = 4  # of either group: with more, a tomogram with other noise is judged by the noise of the query's


def fit_run(run: Run, query: SavedQuery) -> Run:
    """A run whose features have the query's scales, in angstrom.

    Raises
    ------
    QueryError
        If the query was made with other models, or with voxels of a size that is too different.
    VoxelSizeError
        If the tomogram's voxel size is not known.
    """
    settings, ratio = run.config.features, run.tomogram.voxels(query.voxel_size_angstrom)
    ratio = 1.0 if abs(ratio - 1) < _SAME else ratio
    for what, made_with, used in (
        ("features", query.features, settings.backend),
        ("segmenter", query.segmenter, run.config.propagation.segmenter),
    ):
        if made_with != used:
            raise QueryError(
                f"query {query.name!r} was made with {what} {made_with}, and this run uses {used}; use the same "
                "preset, or make the query again"
            )
    if run.provenance["segmenter_digest"] != query.segmenter_digest:
        raise QueryError(f"query {query.name!r} was made with another version of {query.segmenter}; make it again")
    is_whole = query.token_voxels == 0 and settings.token_diameters == 0
    if max(ratio, 1 / ratio) > (1 + _SAME if is_whole else _LARGEST_RATIO):
        raise QueryError(
            f"query {query.name!r} was made in voxels of {query.voxel_size_angstrom:g} angstrom, and those of "
            f"{run.tomogram.name} are {run.tomogram.voxel_size_angstrom:g}; bin to about the same size, or click there"
        )
    diameter = _diameter(run, query)
    tokens = settings.token_diameters if is_whole else query.token_voxels * ratio / octave(diameter)
    scales = tuple(scale * ratio for scale in query.scales)
    features = replace(settings, scales=scales, scales_diameter=float("inf"), token_diameters=tokens)
    return replace(run, config=replace(run.config, features=features))


def recall(run: Run, query: SavedQuery) -> Prompted:
    """What is known of the kind's size without a click, and the tomogram as the segmenter is to see it."""
    sigma = run.config.propagation.smoothing
    if sigma is None:
        sigma = run.tomogram.voxels(query.smoothing_angstrom)
    smoothed = Smoothed(run.normalised, sigma, run.workspace) if sigma > 0 else run.normalised
    instances = InstanceSegmenter(smoothed, run.segmenter, run.config.propagation)
    return Prompted((), (), _diameter(run, query), instances, sigma)


def known(run: Run, query: SavedQuery) -> Known:
    """What the query tells of the kind's shape, and of how like each other its particles are."""
    average = Average(query.average.data, run.tomogram.voxels(query.average.step))
    weight = float(min(query.n_particles, _MOST_MEMBERS))
    return Known(average, weight, query.witnesses if query.witnesses.is_kind.any() else None)


def require_same_features(run: Run, query: SavedQuery, field: FeatureField) -> None:
    """Make sure that the features of a tomogram can be compared with the query's.

    Raises
    ------
    QueryError
        If they come from another version of the model, or other settings.
    """
    has_same_voxels = abs(run.tomogram.voxels(query.voxel_size_angstrom) - 1) < _SAME  # else scales in voxels differ
    is_other = has_same_voxels and run.provenance["features_digest"] != query.features_digest
    if is_other or len(query.feature) != field.n_channels:
        raise QueryError(f"query {query.name!r} was made with another version of {query.features}; make it again")


def save_query(
    run: Run,
    found: Segmentation,
    prompted: Prompted,
    average: Average | None,
    evidence: Float[np.ndarray, "m 2"] | None,
) -> SavedQuery:
    """What must be kept of one kind that was found.

    Parameters
    ----------
    run
        That found it.
    found
        What was found.
    prompted
        What lies under the clicks.
    average
        Of what was seen of each particle, which is kept where that is only a part of it; None where there is none.
    evidence
        ``(m, 2)`` of the candidates; None where there is no average.

    Raises
    ------
    QueryError
        If nothing was found.
    VoxelSizeError
        If the voxel size is not known.
    """
    angstrom, settings = 1 / run.tomogram.voxels(1.0), run.config.features
    volumes = [mask.n_voxels for mask in found.masks if mask.n_voxels]
    if not volumes:
        raise QueryError(
            f"no particle of kind {found.kind!r} was found, so there is nothing to keep; click another one"
        )
    field, size = run.describe(prompted.diameter), octave(prompted.diameter)
    if "whole_diameter_voxels" not in run.provenance:
        average = found.average
    average = average or _single(run, found, prompted.diameter)
    return SavedQuery(
        name=found.kind,
        feature=field.sample(found.candidate_points[: len(found.points)]).mean(axis=0),
        diameter_angstrom=prompted.diameter * angstrom,
        volume_angstrom3=float(np.median(volumes)) * angstrom**3,
        smoothing_angstrom=prompted.smoothing * angstrom,
        contrast="dark" if run.provenance["contrast"] == "dark" else "bright",
        average=Average(average.data, average.step * angstrom),
        witnesses=_witnesses(found, evidence),
        voxel_size_angstrom=angstrom,
        scales=tuple(scale * max(1.0, size / settings.scales_diameter) for scale in settings.scales),
        token_voxels=settings.token_diameters * size,
        features=settings.backend,
        features_digest=str(run.provenance["features_digest"]),
        segmenter=run.config.propagation.segmenter,
        segmenter_digest=str(run.provenance["segmenter_digest"]),
        n_particles=len(found.points),
        source=run.tomogram.name,
        source_digest=run.tomogram.digest(),
    )


def _diameter(run: Run, query: SavedQuery) -> float:
    """In voxels; the settings' own if they have one."""
    return run.given_diameter or run.tomogram.voxels(query.diameter_angstrom)


def _single(run: Run, found: Segmentation, diameter: float) -> Average:
    """The best particle in the place of an average, where there were too few to make one."""
    cut = run.orientations(diameter).cut
    return Average(cut.cut(found.candidate_points[:1])[0].cpu().numpy(), cut.step)


def _witnesses(found: Segmentation, evidence: Float[np.ndarray, "m 2"] | None) -> Witnesses:
    """Some of the candidates, evenly over the scores of those that were accepted and of the others."""
    if evidence is None or found.threshold is None:
        return Witnesses(np.zeros(0), np.zeros(0), np.zeros(0, dtype=bool))
    is_kind = found.candidate_scores >= found.threshold
    groups = [np.flatnonzero(which & (evidence[:, 1] > 0)) for which in (is_kind, ~is_kind)]
    chosen = np.concatenate([group[_spread(len(group))] for group in groups])
    return Witnesses(evidence[chosen, 0], evidence[chosen, 1], is_kind[chosen])


def _spread(n: int) -> Int[np.ndarray, " k"]:
    """Indices of at most so many of n things, evenly spread."""
    return np.unique(np.linspace(0, n - 1, min(n, _MOST_WITNESSES)).round().astype(int))
