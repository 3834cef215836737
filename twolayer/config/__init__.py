"""The config: typed, strict and frozen, from YAML with overrides; all problems of a file in one report, each with its
place. `load_config` is the way in; the pieces that read a document and report on it serve sweep files as well."""

from twolayer.config.loading import by_dotted_key, config_from_dict, differences, dump_config, load_config, yaml_value
from twolayer.config.models import Config, SolverConfig
from twolayer.config.rules import SCHEMA_NAME, config_schema

__all__ = [
    "SCHEMA_NAME",
    "Config",
    "SolverConfig",
    "by_dotted_key",
    "config_from_dict",
    "config_schema",
    "differences",
    "dump_config",
    "load_config",
    "yaml_value",
]
