"""UniFormers on pixels: the backbone as a pyramid of maps, and the heads of semantic segmentation."""
