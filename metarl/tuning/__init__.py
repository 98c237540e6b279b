"""Search over settings: trials that are compared by adaptation on training tasks put aside."""
