"""What the command shows people: tables and lines, a module for each kind of result. No torch."""
