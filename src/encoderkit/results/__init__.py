"""What was measured, and on what machine."""
