"""twolayer: affine -> ReLU -> affine -> softmax with L2, every gradient derived by hand."""

__version__ = "0.1.0"
