"""Configuration: read strictly, and checked whole before anything is built."""

from kdhub.config.check.check import check_config
from kdhub.config.read.load import load_config
from kdhub.findings import Finding, Report

__all__ = ["Finding", "Report", "check_config", "load_config"]
