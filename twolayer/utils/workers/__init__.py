"""Pools of workers: calls of functions handed to processes on this machine or to a Dask cluster, retried when a worker
dies. Sweeps and predictions both use them; they know nothing of networks."""
