"""What every other folder builds on; nothing here knows about networks."""
