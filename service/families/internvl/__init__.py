"""InternVL in transformers' layout: tiles by aspect ratio, a thumbnail, a ViT, pixel shuffle, an MLP projector."""
