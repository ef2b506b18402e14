// Sequences of operations that were run before, as CUDA graphs: played back by one call, instead of
// one for each kernel.

#ifndef STRATA_KERNELS_CUDA_GRAPH_CACHE_H_
#define STRATA_KERNELS_CUDA_GRAPH_CACHE_H_

#include <driver_types.h>

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <vector>

namespace strata::kernels::cuda {

// Used from one thread. Throws DeviceError.
class GraphCache {
 public:
  // What kernels' arguments and sizes depend on, as numbers.
  using Key = std::vector<uint64_t>;

  // Keeps `most` graphs; beyond that the one that was not used for longest goes.
  explicit GraphCache(size_t most) : most_(most) {}

  // Runs `operations` in `stream`. The first time for a key it calls them, as they may allocate;
  // the second time it records them, and from then on plays that back. `key`: what they depend on,
  // as it is when they begin. What they change of it shows next time.
  void Run(cudaStream_t stream, const Key& key, const std::function<void()>& operations);

  size_t size() const { return graphs_.size(); }

 private:
  struct DestroyGraph {
    void operator()(cudaGraphExec_t graph) const;
  };
  using Graph = std::unique_ptr<std::remove_pointer_t<cudaGraphExec_t>, DestroyGraph>;
  struct Entry {
    Graph graph;  // null: it was called once
    int64_t last_use = 0;
  };

  static Graph Record(cudaStream_t stream, const std::function<void()>& operations);
  void DropOldest();

  const size_t most_;
  int64_t num_uses_ = 0;
  std::map<Key, Entry> graphs_;
};

}  // namespace strata::kernels::cuda

#endif  // STRATA_KERNELS_CUDA_GRAPH_CACHE_H_
