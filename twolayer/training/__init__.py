"""One run: config, data, parameters, solver, run folder; and how it resumes."""

from twolayer.training.run import train as train
