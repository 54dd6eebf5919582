"""What the transformers engine runs on: prompts read over kept states, tokens to text, choices and constraints."""
