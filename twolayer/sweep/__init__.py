"""Hyperparameter search: a sweep file names a base config and a space, Optuna picks the points, and every point is
trained as ordinary runs, by processes here or on a Dask cluster. `search.run_sweep` is the way in."""
