"""The compiled engine: the same steps as solver/engine.py, through Numba."""
