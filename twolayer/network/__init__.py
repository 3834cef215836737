"""The network and its mathematics, equations (1) to (13), in NumPy alone."""
