"""Settings, schedule, trainer, session, snapshots."""
