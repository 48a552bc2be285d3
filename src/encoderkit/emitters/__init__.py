"""Emitters execute an encoder's blocks: one writes ONNX, one computes with numpy."""
