"""Work in the background: processes that outlive who starts them. No torch."""
