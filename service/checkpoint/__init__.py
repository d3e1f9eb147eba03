"""A checkpoint's files: its configuration, its tokens and its tensors. Nothing else reads them."""
