"""DPO and DecPO on a tiny random model: one class changes, and the layer's features stay apart."""

import tempfile
import warnings

import torch
from datasets import Dataset
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from monosemy.lm import DecPOConfig, DecPOTrainer

warnings.filterwarnings("ignore", category=FutureWarning, module="transformers")  # set off by TRL itself
torch.set_num_threads(1)
words = ["<pad>", "<s>", "</s>", "<unk>", "please", "rewrite", "nicely", "rudely", *(f"w{i}" for i in range(24))]
inner = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="<unk>"))
inner.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
tokenizer = PreTrainedTokenizerFast(
    tokenizer_object=inner, pad_token="<pad>", bos_token="<s>", eos_token="</s>", unk_token="<unk>"
)
pairs = Dataset.from_list(
    [
        {
            "prompt": f"please rewrite w{i % 24} w{i // 24}",
            "chosen": f" nicely w{i % 7}",
            "rejected": f" rudely w{i % 5}",
        }
        for i in range(64)
    ]
)
shape = LlamaConfig(
    vocab_size=len(words), hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4,
    pad_token_id=0, bos_token_id=1, eos_token_id=2,
)  # fmt: skip

print(f"{'weight':>7} {'reward margin':>14} {'decorrelation term':>19}")
for weight in (0.0, 1e-3, 1e-2):  # a weight of 0 is DPO, bit for bit
    torch.manual_seed(0)
    with tempfile.TemporaryDirectory() as folder:
        settings = DecPOConfig(
            folder, decpo_weight=weight, decpo_layers=[1], per_device_train_batch_size=8, max_steps=24,
            learning_rate=3e-3, logging_steps=24,
            report_to=[], save_strategy="no", disable_tqdm=True, bf16=False, use_cpu=True, seed=0,
        )  # fmt: skip
        LlamaForCausalLM(shape).save_pretrained(f"{folder}/base")  # TRL opens the reference where the model came from
        model = LlamaForCausalLM.from_pretrained(f"{folder}/base")
        trainer = DecPOTrainer(
            model, args=settings, train_dataset=pairs, eval_dataset=pairs, processing_class=tokenizer
        )
        trainer.train()
        metrics = trainer.evaluate()
    print(f"{weight:7.4f} {metrics['eval_rewards/margins']:14.3f} {metrics['eval_decpo/decorrelation']:19.2f}")
