"""One run: config, data, parameters, solver, run folder; and how it resumes."""

from twolayer.training.run import TrainResult, resume, train

__all__ = ["TrainResult", "resume", "train"]
