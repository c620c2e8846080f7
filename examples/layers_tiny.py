"""Layer metrics of a language model before and after a change: a tiny random GPT-2, and one made sparser."""

import copy
import tempfile

import numpy as np
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

from monosemy.lm import measure_layers

words = [
    "<pad>",
    "<unk>",
    *["the", "a", "fox", "hen", "dog", "ran", "sat", "slept", "under", "over", "near", "tree", "house", "river"],
]
inner = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="<unk>"))
inner.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
tokenizer = PreTrainedTokenizerFast(tokenizer_object=inner, pad_token="<pad>", unk_token="<unk>")
torch.manual_seed(0)
shape = GPT2Config(
    vocab_size=len(words), n_embd=32, n_layer=3, n_head=4, n_positions=16, bos_token_id=0, eos_token_id=0,
    initializer_range=0.3,
)  # fmt: skip
base = GPT2LMHeadModel(shape)
changed = copy.deepcopy(base)
with torch.no_grad():
    for block in base.transformer.h:
        block.mlp.c_fc.bias.fill_(-0.1)
    for block in changed.transformer.h:
        block.mlp.c_fc.bias.fill_(-0.4)  # neurons fire for less

rng = np.random.default_rng(0)
prompts = [" ".join(rng.choice(words[2:], size=6)) for _ in range(40)]
bags = np.stack([[text.split().count(word) for word in words] for text in prompts]).astype(np.float32)

with tempfile.TemporaryDirectory() as folder:
    for name, model in (("base", base), ("changed", changed)):
        model.save_pretrained(f"{folder}/{name}")
        tokenizer.save_pretrained(f"{folder}/{name}")
    # ``embed`` gives the similarity of prompts: a bag of words here, usually a text encoder
    sources = {name: f"{folder}/{name}" for name in ("base", "changed")}
    metrics = measure_layers(sources, prompts, embed=lambda texts: bags)

table = metrics.layers.pivot_table(index=["metric", "layer"], columns="model", values="value", sort=False)
print(table.to_string(float_format="%.3f", na_rep=""))
