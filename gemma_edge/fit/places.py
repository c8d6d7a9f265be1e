"""Where llama.cpp puts what (llama-model.cpp, ``load_tensors``; ggml-cpu/repack.cpp)."""

from gemma_edge.fit.plan import ALL_LAYERS, Placement
from gemma_edge.hardware.machine import Hardware

RAM = "RAM"

# Matrix types that the CPU holds repacked, by the instruction set that it needs (repack.cpp,
# ggml_repack_get_optimal_repack_type; amx.cpp). In ggml's words.
_REPACKED = {
    "AVX2": ("Q4_0", "Q4_K", "IQ4_NL", "MXFP4"),
    "AVX512": ("Q2_K",),
    "AMX_INT8": ("Q4_0", "Q4_1", "Q8_0", "Q4_K", "Q5_K", "Q6_K", "IQ4_XS"),
    "DOTPROD": ("Q4_0", "Q4_K", "Q5_K", "Q6_K", "IQ4_NL", "MXFP4", "Q8_0"),
    "MATMUL_INT8": ("Q4_0", "Q4_K", "Q5_K", "Q6_K", "Q8_0"),
}


def layer_places(layers: int, placement: Placement) -> tuple[str, ...]:
    """The place of every layer, and last that of the output: ``layers + 1`` names.

    The last ``gpu_layers`` go to the devices, the output counts as one. Among several they go by
    ``split``; without one they are shared out evenly.
    """
    count = layers + 1
    wanted = count if placement.gpu_layers == ALL_LAYERS else min(placement.gpu_layers, count)
    if not placement.devices or not wanted:
        return (RAM,) * count
    split = placement.split or (1,) * len(placement.devices)
    whole = sum(split)
    places, device, until = [RAM] * (count - wanted), 0, split[0]
    for index in range(wanted):
        while device + 1 < len(split) and index * whole >= until * wanted:
            device += 1
            until += split[device]
        places.append(placement.devices[device])
    return tuple(places)


def repacks(placement: Placement, hardware: Hardware) -> frozenset[str]:
    """Types of which the CPU keeps a repacked copy in anonymous memory.

    Not where a GPU could take the weights over a host buffer: llama.cpp prefers that one, and with
    a mapped file the pages themselves (fit.md 4.5). RPC devices have no host buffer.
    """
    backends = {device.name: device.backend for device in hardware.devices}
    used = [backends.get(name, "") for name in placement.devices if placement.gpu_layers]
    if not placement.repack or any(backend in _HOST_BUFFERS for backend in used):
        return frozenset()
    known = [_REPACKED.get(word, ()) for word in hardware.build.instructions]
    return frozenset(kind for kinds in known for kind in kinds)


_HOST_BUFFERS = ("cuda", "rocm", "vulkan", "sycl")
