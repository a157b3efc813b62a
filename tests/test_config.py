"""Settings: what is refused, what a file gives back, what a preset and an override change."""

import tomllib
from dataclasses import FrozenInstanceError
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cryosam.config import (
    PRESETS,
    AveragingConfig,
    CompartmentConfig,
    Config,
    EnclosureSettings,
    FeatureConfig,
    FilamentConfig,
    MatchingConfig,
    MembraneConfig,
    PropagationConfig,
    RidgeSettings,
    TomogramConfig,
    read_config,
    to_toml,
)
from cryosam.errors import ConfigError, InputNotFoundError

# Plain values, as an override takes them: the shape checks must not run while hypothesis draws.
changes = st.fixed_dictionaries(
    {
        "diameter_angstrom": st.none() | st.floats(1, 1e4),
        "device": st.sampled_from(["auto", "cpu", "cuda:1"]),
        "tomogram__percentiles": st.tuples(st.floats(0, 49), st.floats(50, 100)),
        "features__backend": st.text(min_size=1).filter(lambda name: name != "none"),  # which unsets a setting
        "features__scales": st.lists(st.floats(0.1, 20), min_size=1, max_size=5).map(tuple),
        "matching__strides": st.sampled_from([(2,), (16, 8, 4), (8, 4, 2, 1)]),
        "matching__threshold": st.none() | st.floats(0, 1),
        "matching__max_particles": st.none() | st.integers(1, 10_000),
        "propagation__fusion": st.sampled_from(["union", "majority", "intersection", "soft"]),
        "propagation__min_iou": st.floats(0, 1),
    }
)


def write(folder: Path, text: str) -> Path:
    path = folder / "settings.toml"
    path.write_text(text, encoding="utf-8")
    return path


# to and from a file


@given(changes)
def test_a_file_gives_the_settings_back(tmp_path_factory: pytest.TempPathFactory, changes: dict[str, Any]) -> None:
    config = Config().override(**changes)
    assert read_config(write(tmp_path_factory.mktemp("toml"), to_toml(config))) == config


@pytest.mark.parametrize("preset", sorted(PRESETS))
def test_a_file_gives_a_preset_back(tmp_path: Path, preset: str) -> None:
    assert read_config(write(tmp_path, to_toml(PRESETS[preset]))) == PRESETS[preset]


def test_a_file_starts_from_the_preset_it_names(tmp_path: Path) -> None:
    config = read_config(write(tmp_path, 'preset = "paper"\n[matching]\nmax_particles = 7\n'))
    assert config == PRESETS["paper"].override(matching__max_particles=7)


def test_a_file_without_a_preset_changes_the_given_settings(tmp_path: Path) -> None:
    base = Config().override(propagation__min_iou=0.25, device="cpu")
    config = read_config(write(tmp_path, "[propagation]\nsmoothing = 2.5\n"), base)
    assert config == base.override(propagation__smoothing=2.5)


def test_whole_numbers_serve_where_fractions_are_meant(tmp_path: Path) -> None:
    assert read_config(write(tmp_path, "[propagation]\nsmoothing = 2\n")).propagation.smoothing == 2.0


# what is refused


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("colour = 1", "unknown setting 'colour'; the settings are preset, diameter_angstrom"),
        ("[matching]\ntreshold = 0.4", "unknown setting 'matching.treshold'; the settings are matching.strides"),
        ("[features]\nscale = [1.0]", r"unknown setting 'features\.scale'"),
        ("[propagation]\nz-weight = 1.0", r"unknown setting 'propagation\.z-weight'"),
        ("[tomogram]\ninvert = true", r"unknown setting 'tomogram\.invert'"),
        ("[masks]\nfusion = 'soft'", "unknown setting 'masks'"),
        ("matching = 3", "'matching' is a section, not a single setting, got 3"),
        ("preset = 'best'", "unknown preset 'best'; the presets are embedded, fast, paper"),
        ("[propagation]\nmin_iou = 1.5", r"min_iou is in \[0, 1\], got 1.5"),
        ("[propagation]\nmin_iou = 'high'", "wrong type"),
        ("[tomogram]\npercentiles = [99.0, 1.0]", "percentiles must ascend"),
        ("[matching]\nstrides = [16, 6]", "each stride must divide the one before"),
        ("[matching", "is not a TOML file"),
    ],
)
def test_a_bad_file_is_refused_by_name(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        read_config(write(tmp_path, text))


def test_a_file_that_is_not_text(tmp_path: Path) -> None:
    (tmp_path / "settings.toml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match="is not a TOML file"):
        read_config(tmp_path / "settings.toml")


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(InputNotFoundError, match=r"not found: .*settings\.toml"):
        read_config(tmp_path / "settings.toml")


@pytest.mark.parametrize(
    ("section", "values"),
    [
        (TomogramConfig, {"contrast": "inverted"}),
        (TomogramConfig, {"percentiles": (5.0, 5.0)}),
        (TomogramConfig, {"percentiles": (-1.0, 99.0)}),
        (TomogramConfig, {"percentiles": (1.0, 101.0)}),
        (FeatureConfig, {"scales": (1.5, 0.0)}),
        (FeatureConfig, {"scales": ()}),
        (FeatureConfig, {"token_diameters": -0.1}),
        (FeatureConfig, {"slice_px": 0}),
        (MatchingConfig, {"strides": ()}),
        (MatchingConfig, {"strides": (4, 8)}),
        (MatchingConfig, {"strides": (4, 4)}),
        (MatchingConfig, {"strides": (0,)}),
        (FeatureConfig, {"backend": None}),
        (PropagationConfig, {"segmenter": ""}),
        (MatchingConfig, {"coarse_similarity": 1.1}),
        (MatchingConfig, {"threshold": -0.1}),
        (MatchingConfig, {"max_particles": 0}),
        (MatchingConfig, {"query": "median"}),
        (MatchingConfig, {"min_distance_diameters": -1.0}),
        (MatchingConfig, {"edge_margin": -1}),
        (PropagationConfig, {"fusion": "mean"}),
        (PropagationConfig, {"min_iou": -0.1}),
        (PropagationConfig, {"min_score": 1.1}),
        (PropagationConfig, {"max_area": 0}),
        (PropagationConfig, {"max_area_diameters": 0.0}),
        (PropagationConfig, {"window_diameters": -1.0}),
        (PropagationConfig, {"smoothing": -1.0}),
        (PropagationConfig, {"z_weight": 0.0}),
        (Config, {"diameter_angstrom": 0.0}),
        (Config, {"diameter_voxels": -1.0}),
        (Config, {"diameter_angstrom": 100.0, "diameter_voxels": 10.0}),
        (AveragingConfig, {"n_rotations": 0}),
        (AveragingConfig, {"resolution": 1.0}),
        (TomogramConfig, {"tilt_range": (-91.0, 60.0)}),
        (TomogramConfig, {"tilt_range": (60.0, -60.0)}),
        (TomogramConfig, {"tilt_range": (60.0,)}),
        (TomogramConfig, {"tilt_range": "all"}),
        (TomogramConfig, {"tilt_axis": "z"}),
        (TomogramConfig, {"tilt_axis": 181.0}),
        (Config, {"device": "tpu"}),
        (MembraneConfig, {"link_degrees": 91.0}),
        (MembraneConfig, {"profile_angstrom": 0.0}),
        (MembraneConfig, {"spread": 1.1}),
        (RidgeSettings, {"sigmas_angstrom": ()}),
        (RidgeSettings, {"share": 0.0}),
        (RidgeSettings, {"n_rounds": 1.5}),
        (FilamentConfig, {"n_directions": 0}),
        (FilamentConfig, {"low_strength": 0.6}),
        (FilamentConfig, {"gap_diameters": -1.0}),
        (FilamentConfig, {"least_score": 70.0}),
        (FilamentConfig, {"least_explained": 50.0}),
        (CompartmentConfig, {"size_ratio": 0.5}),
        (CompartmentConfig, {"patience": 0}),
        (EnclosureSettings, {"least_angstrom": 3000.0}),
        (EnclosureSettings, {"cosine": 2.0}),
    ],
)
@pytest.mark.usefixtures("unchecked")
def test_values_out_of_range(section: type, values: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        section(**values)


# presets and overrides


def test_the_paper_preset_has_the_published_numbers() -> None:
    paper = Config.from_preset("paper")
    assert paper.matching.strides == (16, 8, 4)
    assert paper.matching.coarse_similarity == 0.5
    assert paper.matching.max_particles == 512
    assert paper.propagation.max_area == 32 * 32
    assert paper.propagation.min_iou == 0.5


@pytest.mark.parametrize("name", sorted(PRESETS))
def test_a_preset_knows_its_name(name: str) -> None:
    assert Config.from_preset(name).preset == name


def test_the_default_is_the_embedded_preset() -> None:
    assert Config() == Config.from_preset("embedded")


def test_override_changes_what_it_names_and_nothing_else() -> None:
    config = Config().override(device="cpu", matching__threshold=0.4, matching__edge_margin=3)
    assert config == Config(device="cpu", matching=MatchingConfig(threshold=0.4, edge_margin=3))
    assert Config().matching.threshold is None


def test_override_refuses_what_it_does_not_know() -> None:
    with pytest.raises(ConfigError, match=r"unknown setting 'matching\.treshold'"):
        Config().override(matching__treshold=0.4)


def test_a_file_reaches_sections_of_sections_and_refuses_what_they_do_not_have(tmp_path: Path) -> None:
    text = "[compartment]\npatience = 30\n[compartment.enclosure]\nmost_angstrom = 4000\n"
    config = read_config(write(tmp_path, text))
    assert config == Config().override(compartment__patience=30, compartment__enclosure__most_angstrom=4000)
    assert config.compartment.enclosure.most_angstrom == 4000
    with pytest.raises(ConfigError, match=r"unknown setting 'compartment\.enclosure\.most'"):
        read_config(write(tmp_path, "[compartment.enclosure]\nmost = 4000\n"))


def test_settings_cannot_be_changed_in_place() -> None:
    with pytest.raises(FrozenInstanceError):
        Config().device = "cuda"  # type: ignore[misc]


def test_toml_has_one_section_per_stage() -> None:
    assert set(tomllib.loads(to_toml(Config()))) == {
        "preset", "diameter_angstrom", "diameter_voxels", "device", "memory_gb",
        "tomogram", "features", "matching", "propagation", "averaging", "classification", "vectors",
        "refinement",
        "membrane", "filament", "compartment",
    }  # fmt: skip


def test_a_file_can_unset_what_its_preset_sets(tmp_path: Path) -> None:
    config = PRESETS["paper"].override(matching__threshold=None, matching__max_particles=None)
    assert read_config(write(tmp_path, to_toml(config))) == config


def test_a_diameter_in_another_unit_replaces_the_one_before() -> None:
    in_voxels = Config().override(diameter_voxels=12.0)
    assert in_voxels.override(diameter_angstrom=100.0).diameter_voxels is None
    assert in_voxels.override(diameter_angstrom=100.0).diameter_angstrom == 100
    assert in_voxels.override(diameter_angstrom=100.0).override(diameter_voxels=9.0).diameter_angstrom is None
    with pytest.raises(ConfigError, match="not both"):
        Config().override(diameter_angstrom=100.0, diameter_voxels=9.0)
