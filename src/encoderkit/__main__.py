"""`python -m encoderkit`."""

from encoderkit.cli import main

main()
