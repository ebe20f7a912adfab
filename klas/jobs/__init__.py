"""Work in the background: processes that outlive the app that starts them. No torch."""
