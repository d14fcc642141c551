"""Compiled loops: arrays in, arrays out. Nothing here knows of dask, xarray, files or stages."""
