"""Everything learned: tokenizer, latent actions, dynamics, and the World they make together."""
