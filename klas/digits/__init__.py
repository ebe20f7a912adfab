"""The built-in study: data made of digit scans, and four networks trained on them."""
