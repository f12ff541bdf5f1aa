"""kdhub-generation: one-step generators, distilled from diffusion models."""
