"""The ONNX emitter: spec and weights in, an ONNX file (and a .data file beside it) out."""
