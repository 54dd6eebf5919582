"""The parts of the example document: facts, prose, style, drawings and the scanned letter."""
