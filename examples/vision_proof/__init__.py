"""The vision proof: a small vision-language model, built from scratch, learns by both stages to rank pages that must be seen."""
