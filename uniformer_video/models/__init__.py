"""nn.Modules only: layers, blocks, UniFormer, its light sibling, and other families."""
