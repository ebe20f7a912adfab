"""KLAS: find the networks between your pretrained networks."""
