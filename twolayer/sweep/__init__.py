"""Hyperparameter search: a sweep file names a base config and a space, Optuna picks the points, and every point is
trained as ordinary runs, by processes on this machine or on a Dask cluster. The entry point is `search.run_sweep`."""
