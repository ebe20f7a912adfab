"""The command: parse, call, print; and the process of a job."""
