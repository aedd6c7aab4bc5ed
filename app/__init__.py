"""The arcade: the only place that knows pygame and click."""
