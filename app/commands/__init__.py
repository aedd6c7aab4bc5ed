"""One module a family of subcommands; `app.cli` loads them only when they are asked for."""
