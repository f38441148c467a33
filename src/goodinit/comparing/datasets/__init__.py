"""Data to compare plans on: sets that every machine has or can make, and the user's own."""

from __future__ import annotations

from goodinit.comparing.datasets.data import Data
from goodinit.comparing.datasets.loading import dataset_names, load
from goodinit.comparing.datasets.own import as_data

__all__ = ["Data", "as_data", "dataset_names", "load"]
