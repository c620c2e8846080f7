"""Language models finetuned with LoRA and MonoLoRA, side by side."""
