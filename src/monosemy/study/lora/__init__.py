"""LoRA and MonoLoRA side by side."""
