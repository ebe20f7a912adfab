"""The built-in study: data made of digit scans, and three networks trained on them."""
