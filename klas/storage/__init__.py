"""Where things are kept: results, saved studies, the catalogue of networks. No torch."""
