"""Settings of the searches for membranes, filaments and compartments.

Lengths are in angstrom, so that they mean the same in every tomogram.
"""

from dataclasses import dataclass, field
from typing import Any

from cryosam.config.stages import require, require_positive

__all__ = ["CompartmentConfig", "EnclosureSettings", "FilamentConfig", "MembraneConfig", "RidgeSettings"]


def _require_shares(config: Any, *names: str) -> None:
    """Check that some settings are within 0 and 1."""
    for name in names:
        value = getattr(config, name)
        require(0 <= value <= 1, f"{name} is within 0 and 1, got {value}")


def _require_counts(config: Any, *names: str) -> None:
    """Check that some settings are whole numbers from 1 on."""
    for name in names:
        value = getattr(config, name)
        require(isinstance(value, int) and value >= 1, f"{name} is a whole number from 1 on, got {value}")


def _require_angles(config: Any, *names: str) -> None:
    """Check that some settings are angles between lines."""
    for name in names:
        value = getattr(config, name)
        require(0 < value <= 90, f"{name} is above 0 and at most 90 degrees, got {value}")


@dataclass(frozen=True, kw_only=True)
class RidgeSettings:
    """How ridges, of which membranes are made, are found.

    Parameters
    ----------
    sigmas_angstrom
        Standard deviations of the Gaussians whose second derivatives are taken; the stronger response counts. A bilayer
        is about 50 angstrom thick: these are half of it and a little more.
    share
        Part of the voxels that are looked at, those that are most like a plate.
    offset
        Voxels, the largest distance of the maximum along the normal from the voxel's centre; 0.5 is the voxel itself.
    reach_angstrom, decay_angstrom
        Two ridges support each other up to this distance; the support decays with this standard deviation. Gaps of
        noise in a membrane are shorter, and vesicles are not much smaller.
    power
        Exponent of the two cosines that say whether one surface can pass through both ridges.
    n_rounds
        In the second round a vote counts as much as the voter got in the first.
    false_share
        Share of noise among the ridges that pass the low level.
    fringe_angstrom
        A ridge of the inverted volume this near to one of the volume that is twice as salient is its fringe, not noise.
    """

    sigmas_angstrom: tuple[float, ...] = (25.0, 35.0)
    share: float = 0.04
    offset: float = 0.6
    reach_angstrom: float = 120.0
    decay_angstrom: float = 60.0
    power: int = 8
    n_rounds: int = 2
    false_share: float = 0.1
    fringe_angstrom: float = 80.0

    def __post_init__(self) -> None:
        require(
            min(self.sigmas_angstrom, default=0) > 0, f"sigmas_angstrom must be positive, got {self.sigmas_angstrom}"
        )
        require(0 < self.share <= 1, f"share is above 0 and at most 1, got {self.share}")
        require_positive(self, "offset", "reach_angstrom", "decay_angstrom")
        _require_counts(self, "power", "n_rounds")
        _require_shares(self, "false_share")
        require(self.fringe_angstrom >= 0, f"fringe_angstrom must not be negative, got {self.fringe_angstrom}")


@dataclass(frozen=True, kw_only=True)
class EnclosureSettings:
    """Which closed surfaces are looked for.

    Parameters
    ----------
    least_angstrom, most_angstrom
        Smallest and largest distance from the point to the membrane.
    stiffness
        Cost of a difference of one step of 3 % between neighbouring directions, in units of a membrane seen in one
        direction; it grows with the square.
    cosine
        Least cosine of the angle between a ridge's normal and the direction in which it is seen.
    near_angstrom, parallel
        A membrane was measured where a ridge is this near to the surface (or one voxel and a half, where these are
        more), and the cosine of the angle between their normals is at least this.
    """

    least_angstrom: float = 80.0
    most_angstrom: float = 2000.0
    stiffness: float = 0.06
    cosine: float = 0.8
    near_angstrom: float = 30.0
    parallel: float = 0.8

    def __post_init__(self) -> None:
        least, most = self.least_angstrom, self.most_angstrom
        require(
            bool(0 < least < most), f"least_angstrom must be positive and below most_angstrom, got {least} and {most}"
        )
        require_positive(self, "near_angstrom")
        require(self.stiffness >= 0, f"stiffness must not be negative, got {self.stiffness}")
        _require_shares(self, "cosine", "parallel")


@dataclass(frozen=True, kw_only=True)
class MembraneConfig:
    """How membranes are found, see `cryosam.structures.membranes.MembraneFinder`.

    Parameters
    ----------
    voxel_size_angstrom
        Of the binned tomogram in which sheets are looked for; a bilayer is then two to three voxels thick.
    ridges
        How ridges are found.
    click_angstrom
        Largest distance of a click from a membrane's middle.
    click_patch_angstrom
        Radius around the click in which the membrane is measured.
    link_angstrom, link_degrees
        Neighbouring points of a sheet are at most this far apart, and their normals differ by less than this angle.
        The distance is a little less than two voxels.
    least_edge_angstrom
        A sheet has at least the area of a square with this edge.
    tube_radius_angstrom
        A sheet that bends more than this in one direction and not half as much in the other is a tube's wall: that of a
        microtubule has a radius of 105 angstrom, measured with noise up to 160. Not applied if the clicked one is so.
    profile_angstrom
        Density is compared up to this distance on both sides of the middle.
    patch_angstrom
        Edge of the patches of a sheet whose mean profiles are compared.
    spread
        Share of the clicked membrane's own patches that may resemble its mean less than another membrane must; and
        share of a sheet, or twice that of the clicked one, that may be as strong as gold. A query takes twice the
        median over the points of all sheets with its profile in the tomogram that is searched.
    closed_share
        Part of a closed surface that must be measured, of that which the missing wedge lets one see.
    """

    voxel_size_angstrom: float = 20.0
    ridges: RidgeSettings = field(default_factory=RidgeSettings)
    click_angstrom: float = 60.0
    click_patch_angstrom: float = 150.0
    link_angstrom: float = 35.0
    link_degrees: float = 30.0
    least_edge_angstrom: float = 300.0
    tube_radius_angstrom: float = 180.0
    profile_angstrom: float = 150.0
    patch_angstrom: float = 100.0
    spread: float = 0.05
    closed_share: float = 0.6

    def __post_init__(self) -> None:
        lengths = ("voxel_size", "click", "click_patch", "link", "least_edge", "profile", "patch")
        require_positive(self, *(f"{name}_angstrom" for name in lengths))
        require(
            self.tube_radius_angstrom >= 0,
            f"tube_radius_angstrom must not be negative, got {self.tube_radius_angstrom}",
        )
        _require_angles(self, "link_degrees")
        _require_shares(self, "spread", "closed_share")


@dataclass(frozen=True, kw_only=True)
class FilamentConfig:
    """How filaments are found, see `cryosam.structures.filaments.FilamentFinder`.

    Parameters
    ----------
    voxel_size_angstrom
        The tomogram is binned to voxels of about this size; actin is three of them wide.
    profile_radius_angstrom
        Largest radius of a filament with its surroundings: that of a microtubule is 125 angstrom.
    line_angstrom
        Half of the length over which the click is looked at, and of the lines. Microtubules and actin are straight
        over 300 angstrom.
    offset_angstrom
        Largest distance from the click to the axis: a click may be on the wall of a microtubule.
    offset_scale_angstrom
        Distance of the axis from the click that costs as much as one unit of evidence (squared deviation of noise).
    n_directions
        Of the lines, and of the axes that are tried at the click; 200 are 10 degrees apart, over which a line of
        320 angstrom leaves actin by less than its radius.
    least_evenness
        Lower quartile of the strength along the line at the click, as a fraction of its mean: a filament is as strong
        everywhere, a particle or a gold bead is not.
    least_strength
        Strength at which a filament is begun, as a fraction of that at the click.
    low_strength
        Strength at which it ends; half of a line ahead beyond the end gives 0.5.
    least_similarity
        Correlation of a cross-section with the profile, as a fraction of that at the click.
    least_score
        The same for the mean over a whole filament.
    least_explained
        Least fraction of the energy of a line's own radial profile that the profile at the click explains. What is
        below a half is mostly something else. What was clicked is kept.
    unlike_angstrom
        Longest stretch that the strength of the line alone carries, between stretches with the kind's cross-section:
        other structures within the margin of the cross-section, and crossings, spoil it.
    false_share
        Share of the places where filaments are begun that the inverted volume would give as well.
    gap_diameters
        Longest gap that is bridged, in diameters, or the length of a line if that is longer.
    gap_degrees
        Largest angle between what is joined.
    turn_degrees
        Largest change of direction in a step of two voxels; over two diameters of actin this is 45 degrees.
    least_length_angstrom
        What is shorter is no filament: complexes have up to 300 angstrom, and a line ahead blurs both ends.
    """

    voxel_size_angstrom: float = 20.0
    profile_radius_angstrom: float = 180.0
    line_angstrom: float = 150.0
    offset_angstrom: float = 130.0
    offset_scale_angstrom: float = 25.0
    n_directions: int = 200
    least_evenness: float = 0.5
    least_strength: float = 0.5
    low_strength: float = 0.35
    least_similarity: float = 0.6
    least_score: float = 0.7
    least_explained: float = 0.5
    unlike_angstrom: float = 800.0
    false_share: float = 0.1
    gap_diameters: float = 3.0
    gap_degrees: float = 25.0
    turn_degrees: float = 16.0
    least_length_angstrom: float = 500.0

    def __post_init__(self) -> None:
        lengths = ("voxel_size", "profile_radius", "line", "offset_scale", "least_length")
        require_positive(self, *(f"{name}_angstrom" for name in lengths))
        _require_counts(self, "n_directions")
        for name in ("offset_angstrom", "unlike_angstrom", "gap_diameters"):
            require(getattr(self, name) >= 0, f"{name} must not be negative, got {getattr(self, name)}")
        require(0 < self.low_strength <= self.least_strength, "low_strength must be in 0 to least_strength")
        _require_shares(self, "least_evenness", "least_similarity", "least_score", "least_explained", "false_share")
        _require_angles(self, "gap_degrees", "turn_degrees")


@dataclass(frozen=True, kw_only=True)
class CompartmentConfig:
    """How compartments are found, see `cryosam.structures.compartments.CompartmentFinder`.

    Parameters
    ----------
    voxel_size_angstrom
        Edge of the voxels at which membranes are looked for.
    closed
        Least fraction of the surface, of what is in the tomogram and not in the missing wedge, where a membrane was
        measured. Chosen between what random points in the open and vesicles of a streaky reconstruction give.
    one_sided
        Largest one-sidedness (see `cryosam.structures.compartments.Judged`); a sheet that bulges has more.
    inside
        Least fraction of the surface that is in the tomogram.
    alike
        Least fraction measured of another compartment, as a part of that of the clicked one.
    size_ratio
        Largest ratio of the radii of a compartment and the clicked one that are alike.
    most_candidates
        Number of places where others are looked for.
    patience
        Places in a row, from the most promising on, without a compartment, after which the search ends.
    ridges, enclosure
        How membranes, and closed surfaces of them, are found.
    """

    voxel_size_angstrom: float = 20.0
    closed: float = 0.3
    one_sided: float = 0.35
    inside: float = 0.6
    alike: float = 0.5
    size_ratio: float = 2.0
    most_candidates: int = 200
    patience: int = 15
    ridges: RidgeSettings = field(default_factory=RidgeSettings)
    enclosure: EnclosureSettings = field(default_factory=EnclosureSettings)

    def __post_init__(self) -> None:
        require_positive(self, "voxel_size_angstrom")
        _require_shares(self, "closed", "one_sided", "inside", "alike")
        require(self.size_ratio >= 1, f"size_ratio is at least 1, got {self.size_ratio}")
        _require_counts(self, "most_candidates", "patience")
