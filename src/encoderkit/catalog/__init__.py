"""The catalog: encoder models that people use, and the settings that were published for them."""

from __future__ import annotations
