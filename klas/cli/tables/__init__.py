"""What the command shows a person: tables and lines, a module for each kind of result. No torch."""
