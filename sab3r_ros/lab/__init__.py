"""Makes and measures the weights: synthetic rooms, training, evaluation. The running system never imports it."""
