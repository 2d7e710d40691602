"""Image encoders behind `models.base.Encoder`: images in, tokens out."""
