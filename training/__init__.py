"""From shards to checkpoints, and how good they are."""
