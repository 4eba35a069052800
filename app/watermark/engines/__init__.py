"""Marks made inside an engine, where the next token is chosen. Nothing of the service is imported here but `detectors`.

request       what a gateway sends with a request, and an engine reads: profile and codeword
keys          the master secrets and profiles that an engine process holds
following     which numbers an answer's next token is chosen by, as the engine goes forward and back in it
rows          marks in a batch of logits: numpy arrays or torch tensors
hugging_face  a logits processor for `transformers`
vllm_v1       a logits processor for vLLM's first model runner
vllm_v2       a logits processor for vLLM's second model runner
sglang        a custom logit processor for SGLang
"""
