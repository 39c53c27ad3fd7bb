"""What runs beside the applications and the console, and may load the SDK: `python -m console.agent DUTY`."""
