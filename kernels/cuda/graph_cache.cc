#include "kernels/cuda/graph_cache.h"

#include <cuda_runtime_api.h>

#include <algorithm>

#include "kernels/cuda/cuda_error.h"

namespace strata::kernels::cuda {
namespace {

// A stream that records what it is told, until End, and in any case no longer than this lives.
class Capture {
 public:
  explicit Capture(cudaStream_t stream) : stream_(stream) {
    Check(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal),
          "beginning to record a graph");
  }
  ~Capture() {
    if (!ended_) cudaStreamEndCapture(stream_, &graph_);
    if (graph_ != nullptr) cudaGraphDestroy(graph_);
  }
  Capture(const Capture&) = delete;
  Capture& operator=(const Capture&) = delete;

  // Valid while this lives.
  cudaGraph_t End() {
    ended_ = true;
    Check(cudaStreamEndCapture(stream_, &graph_), "recording a graph");
    return graph_;
  }

 private:
  const cudaStream_t stream_;
  bool ended_ = false;
  cudaGraph_t graph_ = nullptr;
};

}  // namespace

void GraphCache::DestroyGraph::operator()(cudaGraphExec_t graph) const {
  cudaGraphExecDestroy(graph);
}

void GraphCache::Run(cudaStream_t stream, const Key& key, const std::function<void()>& operations) {
  const auto found = graphs_.find(key);
  if (found == graphs_.end()) {
    operations();
    if (graphs_.size() == most_) DropOldest();
    graphs_[key].last_use = ++num_uses_;
    return;
  }
  Entry& entry = found->second;
  entry.last_use = ++num_uses_;
  if (entry.graph == nullptr) entry.graph = Record(stream, operations);
  Check(cudaGraphLaunch(entry.graph.get(), stream), "launching a graph");
}

GraphCache::Graph GraphCache::Record(cudaStream_t stream, const std::function<void()>& operations) {
  Capture capture(stream);
  operations();
  cudaGraphExec_t graph = nullptr;
  Check(cudaGraphInstantiate(&graph, capture.End(), 0), "making a graph");
  return Graph(graph);
}

void GraphCache::DropOldest() {
  const auto oldest = std::min_element(
      graphs_.begin(), graphs_.end(),
      [](const auto& a, const auto& b) { return a.second.last_use < b.second.last_use; });
  graphs_.erase(oldest);
}

}  // namespace strata::kernels::cuda
