"""FAISS on GPUs, and on the CPU where there are none.

No machine with a GPU has run this module yet. Its tests run wherever one is in reach and are skipped elsewhere.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import faiss

from kdhub.api import UsageError
from kdret.log import tell

_RESOURCES: dict[int, Any] = {}
_CUVS: Any = faiss  # names that the type stubs of builds without cuVS lack


class Placement(NamedTuple):
    """Where an index is searched; the arguments of `FaissIndex` say what each means."""

    device: str = "cpu"
    gpus: int | None = None
    shards: bool = False
    float16: bool = False


def reachable() -> int:
    """Return the number of GPUs that FAISS can use; a CPU build has the function too, but not the classes."""
    return int(faiss.get_num_gpus()) if hasattr(faiss, "StandardGpuResources") else 0


def max_k() -> int:
    """Return how many answers a GPU gives for one request."""
    return 16_384 if hasattr(faiss, "GpuIndexCagra") else 2048


def parameters(on_gpu: bool) -> Any:
    """Return what sets the effort of an index."""
    return faiss.GpuParameterSpace() if on_gpu else faiss.ParameterSpace()


def knn(on_gpu: bool) -> Callable[..., Any]:
    """Return the function that searches plain arrays."""
    if not on_gpu:
        return faiss.knn
    return lambda queries, rows, k, metric: faiss.knn_gpu(_resources(0), queries, rows, k, metric=metric)


def placed(index: Any, factory: str, placement: Placement) -> Any:
    """Copy an index to GPUs, or return it as it is and say why.

    Args:
        index: On the CPU.
        factory: Its factory string.
        placement: Where it is wanted.
    """
    if placement.device == "cpu":
        return index
    count = min(reachable(), placement.gpus or reachable())
    if not count:
        return _stays(index, "no GPU is in reach of FAISS")
    if factory.startswith(("HNSW", "CAGRA")):
        return _stays(index, "FAISS searches this graph on the CPU alone")
    try:
        if count == 1:
            options = faiss.GpuClonerOptions()
            options.useFloat16 = placement.float16
            return faiss.index_cpu_to_gpu(_resources(0), 0, index, options)
        several = faiss.GpuMultipleClonerOptions()
        several.useFloat16, several.shard = placement.float16, placement.shards
        return faiss.index_cpu_to_gpu_multiple_py([_resources(one) for one in range(count)], index, several)
    except RuntimeError as error:  # out of memory, or a kind of index that has no GPU form
        said = str(error).strip().splitlines()[-1].rsplit(": ", 1)[-1][:160]
        return _stays(index, f"the GPU refused it: {said}")


def builds_graphs(placement: Placement) -> bool:
    """Tell whether a CAGRA graph can be built: a build of FAISS with cuVS, and a GPU."""
    return placement.device == "gpu" and hasattr(faiss, "GpuIndexCagra") and reachable() > 0


def new_graph(width: int) -> Any:
    """Return an index that gathers the vectors of a CAGRA graph; `finished` builds it.

    Raises:
        UsageError: Without cuVS or without a GPU.
    """
    if not hasattr(faiss, "GpuIndexCagra") or not reachable():
        cuvs = "" if hasattr(faiss, "GpuIndexCagra") else " without cuVS"
        raise UsageError(
            "FaissIndex: CAGRA needs a GPU and FAISS with cuVS",
            got=f"{reachable()} GPUs, faiss {faiss.__version__}{cuvs}",
            fix="take factory='HNSW32', or install faiss-gpu-cuvs in place of faiss-gpu",
        )
    return faiss.IndexFlatIP(width)


def finished(index: Any, factory: str) -> Any:
    """Build the graph of gathered vectors on the GPU and bring it to the CPU; any other index is finished already."""
    if factory != "CAGRA":
        return index
    config = _CUVS.GpuIndexCagraConfig()
    config.graph_degree, config.intermediate_graph_degree = 64, 128
    graph = _CUVS.GpuIndexCagra(_resources(0), index.d, faiss.METRIC_INNER_PRODUCT, config)
    graph.train(flat_vectors(index))
    on_cpu = _CUVS.IndexHNSWCagra()
    graph.copyTo(on_cpu)
    return on_cpu


def flat_vectors(index: Any) -> Any:
    """Return the vectors ``(N, D)`` of a flat index on the CPU, without a copy."""
    flat: Any = faiss.downcast_index(index)
    return faiss.rev_swig_ptr(flat.get_xb(), flat.ntotal * flat.d).reshape(flat.ntotal, flat.d)


def _stays(index: Any, why: str) -> Any:
    tell(f"index on the CPU: {why}", warn=True)
    return index


def _resources(gpu: int) -> Any:
    """Return the working memory of a GPU; one each, and for one thread."""
    if gpu not in _RESOURCES:
        _RESOURCES[gpu] = faiss.StandardGpuResources()
    return _RESOURCES[gpu]
