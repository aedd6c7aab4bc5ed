"""Real games in, shards out. Nothing in here knows torch."""
