"""Make docs/real-networks.md: KLAS and its rivals on published networks and real images."""
