"""Work on tokens: packing, padding, random work."""
