"""Settings in TOML files."""

import tomllib
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import tomli_w

from cryosam.config.settings import Config, merge_settings
from cryosam.config.stages import NONE
from cryosam.errors import ConfigError, InputNotFoundError

__all__ = ["read_config", "to_toml"]


def read_config(path: Path, base: Config | None = None) -> Config:
    """Read settings from a TOML file; the others are those of the preset that it names, or else of ``base``.

    The value ``"none"`` unsets a setting.

    Raises
    ------
    InputNotFoundError
        If the file does not exist.
    ConfigError
        If the file is not TOML, or has an unknown key or a value out of range.
    """
    if not path.is_file():
        raise InputNotFoundError(f"configuration file not found: {path}")
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not a TOML file: {error}") from error
    start = Config.from_preset(str(content["preset"])) if "preset" in content else base or Config()
    merged: Config = merge_settings(start, content)
    return merged


def to_toml(config: Config) -> str:
    """Write settings as TOML, which `read_config` reads; a setting without a value is ``"none"``."""
    return tomli_w.dumps(_spell_none(asdict(config)))


def _spell_none(values: Mapping[str, Any]) -> dict[str, Any]:
    """Copy with None replaced by a word, because TOML has no value for it."""
    return {
        key: _spell_none(value) if isinstance(value, Mapping) else NONE if value is None else value
        for key, value in values.items()
    }
