"""DPO and DecPO side by side."""
