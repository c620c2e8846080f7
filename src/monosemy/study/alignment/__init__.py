"""DPO against DecPO over weights, losses, seeds and models: trained, measured, summarised."""
