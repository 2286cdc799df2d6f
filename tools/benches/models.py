"""Small random checkpoints for benches, written by transformers itself."""
import json
import pathlib


def tokenizer_json(directory, vocab_size):
    """A byte-level BPE of exactly vocab_size entries, trained on counted words."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(vocab_size=vocab_size, special_tokens=["<s>", "</s>", "<pad>"],
                                  initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False)
    words = (" ".join(f"{a}{b}{c}" for c in ("n", "rt", "sk", "lo", "mi")) for a in
             ("ba", "de", "fi", "go", "hu", "ka", "le", "mo", "nu", "pa", "ri", "so", "tu", "ve")
             for b in ("la", "re", "ti", "no", "ku", "sha", "pe", "di", "ro", "bu", "ma", "ge", "fo", "zi"))
    tokenizer.train_from_iterator(words, trainer)
    tokenizer.save(str(directory / "tokenizer.json"))
    (directory / "tokenizer_config.json").write_text(json.dumps(
        {"tokenizer_class": "PreTrainedTokenizerFast", "bos_token": "<s>", "eos_token": "</s>",
         "pad_token": "<pad>", "model_max_length": 1024}))
    return tokenizer.get_vocab_size()


def llama(directory, layers, width, heads, kv_heads, mlp, vocab, seed=0):
    import torch
    import transformers
    directory = pathlib.Path(directory)
    directory.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(seed)
    tokenizer_json(directory, vocab)
    config = transformers.LlamaConfig(
        vocab_size=vocab, hidden_size=width, intermediate_size=mlp, num_hidden_layers=layers,
        num_attention_heads=heads, num_key_value_heads=kv_heads, max_position_embeddings=1024,
        bos_token_id=0, eos_token_id=1, pad_token_id=2, tie_word_embeddings=True)
    model = transformers.LlamaForCausalLM(config)
    model.save_pretrained(directory)
    return directory
