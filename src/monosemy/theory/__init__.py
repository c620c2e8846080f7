"""The papers' explanation as something to run: a toy model of superposition, and separability under noise."""
