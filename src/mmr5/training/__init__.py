"""SFT and GRPO (paper sections 3.2 and 3.3)."""
