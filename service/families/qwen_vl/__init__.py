"""Qwen2.5-VL: images near their own resolution, cut into cells; a ViT with windowed attention; a merger."""
