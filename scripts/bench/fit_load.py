"""The program that ``bench fit`` measures: it loads a model, decodes one batch, and prints what
llama.cpp said and what the kernel says that it holds. It knows nothing of our arithmetic.

    python3 fit_load.py '{"model": ..., "cases": [[context, batch, "f16"], ...], "repack": true,
        "devices": ["RPC0"], "gpu_layers": n, "split": [n, n], "cpu_expert_layers": n,
        "endpoints": ["host:port"], "dry": false, "resident": false}'

``dry`` asks llama.cpp what it would allocate. Else there is one case, and it is allocated;
``resident`` measures first what the vocabulary alone takes.
"""

import ctypes
import json
import re
import sys
from pathlib import Path
from typing import Any

import llama_cpp
from llama_cpp import llama_cpp as bindings
from llama_cpp._ctypes_extensions import load_shared_library

KV_TYPES = {"f16": 1, "q8_0": 8}
LIBRARIES = Path(llama_cpp.__file__).parent / "lib"


class Override(ctypes.Structure):
    """llama_model_tensor_buft_override."""

    _fields_ = (("pattern", ctypes.c_char_p), ("buffer_type", ctypes.c_void_p))


def load(wanted: dict[str, Any]) -> Any:
    """The model, as the engine opens it."""
    ggml = load_shared_library("ggml", LIBRARIES)  # the others are found through it
    ggml.ggml_backend_dev_by_name.restype = ctypes.c_void_p
    ggml.ggml_backend_dev_buffer_type.restype = ctypes.c_void_p
    ggml.ggml_backend_dev_buffer_type.argtypes = [ctypes.c_void_p]
    for endpoint in wanted.get("endpoints", ()):
        ggml.ggml_backend_rpc_add_server.restype = ctypes.c_void_p
        ggml.ggml_backend_register.argtypes = [ctypes.c_void_p]
        ggml.ggml_backend_register(ggml.ggml_backend_rpc_add_server(endpoint.encode()))
    params = llama_cpp.llama_model_default_params()
    names = wanted.get("devices", [])
    devices = (ctypes.c_void_p * (len(names) + 1))(
        *(ggml.ggml_backend_dev_by_name(name.encode()) for name in names), None
    )
    params.devices = ctypes.cast(devices, ctypes.c_void_p)
    params.n_gpu_layers = wanted.get("gpu_layers", 0)
    params.split_mode = int(len(names) > 1)
    params.use_extra_bufts = wanted.get("repack", True)
    params.no_alloc = wanted.get("dry", False)
    modes = (llama_cpp.LLAMA_LOAD_MODE_MMAP, llama_cpp.LLAMA_LOAD_MODE_NONE)
    params.load_mode = modes[params.no_alloc]
    params.lazy_mode = llama_cpp.LLAMA_LAZY_MODE_OFF
    split = (ctypes.c_float * llama_cpp.llama_max_devices())(*wanted.get("split", ()))
    if wanted.get("split"):
        params.tensor_split = ctypes.cast(split, ctypes.POINTER(ctypes.c_float))
    layers = "|".join(map(str, range(wanted.get("cpu_expert_layers", 0))))
    pattern = rf"blk\.({layers})\.ffn_(up|down|gate_up|gate)_(ch|)exps".encode()
    cpu = ggml.ggml_backend_dev_buffer_type(ggml.ggml_backend_dev_by_name(b"CPU"))
    overrides = (Override * 2)(Override(pattern, cpu), Override(None, None))
    if layers:
        params.tensor_buft_overrides = ctypes.cast(overrides, ctypes.c_void_p)
    return llama_cpp.llama_model_load_from_file(wanted["model"].encode(), params)


def open_context(model: Any, size: int, batch: int, kv_type: str) -> Any:
    """A context, as the engine opens it."""
    params = llama_cpp.llama_context_default_params()
    params.n_ctx = size
    params.n_batch = params.n_ubatch = batch
    params.n_seq_max = params.n_outputs_max = 1
    params.flash_attn_type, params.swa_full = 1, False
    params.type_k = params.type_v = KV_TYPES[kv_type]
    return llama_cpp.llama_init_from_model(model, params)


def load_vocabulary(path: str) -> int:
    """What the file's vocabulary alone takes, in anonymous bytes; it is not part of the plan."""
    before = resident()
    params = llama_cpp.llama_model_default_params()
    params.vocab_only = True
    llama_cpp.llama_model_load_from_file(path.encode(), params)
    return resident().get("anonymous", 0) - before.get("anonymous", 0)


def decode(context: Any, count: int) -> int:
    """One full batch, so that every buffer is touched; llama.cpp's status."""
    batch = llama_cpp.llama_batch_init(count, 0, 1)
    batch.n_tokens = count
    for index in range(count):
        batch.token[index] = 5
        batch.pos[index] = index
        batch.n_seq_id[index] = 1
        batch.seq_id[index][0] = 0
        batch.logits[index] = index == count - 1
    return int(llama_cpp.llama_decode(context, batch))


def resident() -> dict[str, int]:
    """Bytes of this process by kind, from the kernel; empty where it does not say."""
    path = Path("/proc/self/smaps_rollup")
    if not path.exists():
        return {}
    text = path.read_text(encoding="ascii")
    found = {key: int(size) << 10 for key, size in re.findall(r"(\w+): +(\d+) kB", text)}
    return {"anonymous": found["Anonymous"], "file": found["Rss"] - found["Anonymous"]}


def main() -> None:
    """Print one JSON object."""
    wanted = json.loads(sys.argv[1])
    lines: list[str] = []

    @bindings.llama_log_callback  # type: ignore[untyped-decorator,unused-ignore]
    def note(level: int, text: bytes, _data: Any) -> None:
        lines.append(text.decode("utf-8", "replace"))

    llama_cpp.llama_log_set(note, ctypes.c_void_p(0))
    llama_cpp.llama_backend_init()
    vocabulary = load_vocabulary(wanted["model"]) if wanted.get("resident") else 0
    before, first = resident(), len(lines)
    model = load(wanted)
    shared = lines[first:]
    status, runs = 0, []
    for size, batch, kv_type in wanted["cases"]:
        first = len(lines)
        context = open_context(model, size, batch, kv_type) if model else None
        if not context:
            sys.exit("".join(lines[-5:]))
        if wanted.get("dry"):
            llama_cpp.llama_free(context)
        else:
            status = decode(context, batch)
        runs.append(shared + lines[first:])
    sizes = {"before": before, "after": resident(), "vocabulary": vocabulary}
    sys.stdout.write(json.dumps({"runs": runs, "status": status, **sizes}) + "\n")


if __name__ == "__main__":
    main()
