"""One file per operator: its match, its tiling rule and its emission."""
