"""Gaussian splats with a posterior."""

from pathlib import Path as _Path

if not _Path(__file__).with_name("samplers").is_dir():
    # A source checkout keeps models/, samplers/ and configs/ beside this folder;
    # an installed copy has them inside it.
    __path__.append(str(_Path(__file__).resolve().parents[1]))

__version__ = "0.1.0"
