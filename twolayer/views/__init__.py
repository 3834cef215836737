"""Pictures and verdicts from what a run left: loss curves, diagnosis, the report page, decision boundaries."""
