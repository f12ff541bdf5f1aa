"""Configuration: read strictly, and checked whole before anything is built."""

from kdhub.config.check import check_config
from kdhub.config.findings import Finding, Report
from kdhub.config.load import load_config

__all__ = ["Finding", "Report", "check_config", "load_config"]
