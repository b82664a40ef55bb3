"""Keys and values of other projects' configs: the published UniFormer's and PySlowFast's."""
