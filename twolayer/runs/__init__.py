"""What a run leaves on the disk, and how it stays whole: its folder, checkpoints, logs, lock and environment."""
