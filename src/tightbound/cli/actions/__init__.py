"""What commands do: one module per command or group of commands."""
