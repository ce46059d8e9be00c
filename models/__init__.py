"""Networks and weights: plain torch, no ComfyUI, no image logic."""
