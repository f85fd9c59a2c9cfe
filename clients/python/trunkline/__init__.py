"""Python client of Trunkline: generated stubs in `trunkline.v1`, thin helpers beside them."""
