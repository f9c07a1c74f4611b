"""Actions of the commands: one module per command or group of commands."""
