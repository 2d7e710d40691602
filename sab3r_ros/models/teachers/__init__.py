"""2D teachers of the feature heads: MaskCLIP, DINOv2, and FeatUp's upsampler."""
