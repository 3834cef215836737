"""One run: config, data, parameters, solver, run folder; and how it resumes."""
