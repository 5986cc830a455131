"""Photographs with cameras: read from disk (``loader``) or made by the package (``synthetic``)."""
