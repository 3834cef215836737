"""Ways in and out: scikit-learn, PyTorch, ONNX, safetensors. Each module needs its own extra."""
