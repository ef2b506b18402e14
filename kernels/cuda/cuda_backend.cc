#include "kernels/cuda/cuda_backend.h"

#include <cuda_runtime_api.h>

#include <algorithm>
#include <bit>
#include <cstddef>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "kernels/cuda/attention_kernels.h"
#include "kernels/cuda/backend_on_device.h"
#include "kernels/cuda/choice_kernels.h"
#include "kernels/cuda/cuda_chooser.h"
#include "kernels/cuda/cuda_error.h"
#include "kernels/cuda/device.h"
#include "kernels/cuda/graph_cache.h"
#include "kernels/cuda/products.h"
#include "kernels/cuda/read_buffer.h"
#include "kernels/cuda/row_kernels.h"
#include "kernels/cuda/weights.h"

namespace strata::kernels {
namespace {

using cuda::Check;
using cuda::CudaChooser;
using cuda::CudaEmbedding;
using cuda::CudaMatrix;
using cuda::Device;
using cuda::GraphCache;
using cuda::Output;
using cuda::ReadBuffer;
using cuda::Scratch;

// With fewer blocks for each processor, partitions of long sequences run side by side.
constexpr int64_t kFewBlocks = 4;
// Batches of at most so many rows stand in device memory in the same way each time, with their
// sizes rounded up, so that graphs fit them. More rows keep the GPU busy for longer than launches
// take.
constexpr int kSmallBatch = 64;
constexpr size_t kMostGraphs = 256;

// The least power of 2 that is not less.
int RoundUp(int value) { return static_cast<int>(std::bit_ceil(static_cast<unsigned>(value))); }

class CudaKvCache : public KvCache {
 public:
  CudaKvCache(const std::shared_ptr<Device>& device, const KvCacheShape& shape, DType dtype)
      : dtype_(dtype),
        layer_bytes_(size_t{SizeOf(dtype)} * shape.num_blocks * kKvBlockTokens *
                     shape.num_kv_heads * shape.head_dim),
        keys_(Device::Allocate(device, layer_bytes_ * shape.num_layers)),
        values_(Device::Allocate(device, layer_bytes_ * shape.num_layers)) {}

  size_t size_bytes() const override { return keys_.size_bytes() + values_.size_bytes(); }
  cuda::KvLayer Layer(int layer) const {
    const size_t at = layer * layer_bytes_;
    return {static_cast<std::byte*>(keys_.data()) + at,
            static_cast<std::byte*>(values_.data()) + at, dtype_};
  }

 private:
  const DType dtype_;
  const size_t layer_bytes_;  // of the keys, and of the values
  Buffer keys_, values_;
};

// The batch of BeginBatch, on both sides.
class Batch {
 public:
  explicit Batch(std::shared_ptr<Device> device) : device_(std::move(device)) {}

  void Begin(const RowBatch& batch);
  // The tiles of at most `max_rows` rows for the current batch.
  std::span<const cuda::RowTile> Tiles(int max_rows);

  bool is_small() const { return sequences_.size() <= kSmallBatch; }
  // What launches for a small batch depend on.
  void AppendTo(GraphCache::Key* key);

  const cuda::DeviceBatch& on_device() const { return on_device_; }
  const cuda::RowTile* device_tiles() const { return device_tiles_; }
  // Partitions of the longest row, or more.
  int num_partitions() const {
    const int needed = max_position_ / cuda::kPartition + 1;
    return is_small() ? RoundUp(needed) : needed;
  }

 private:
  const std::shared_ptr<Device> device_;
  std::vector<int32_t> host_;  // all of a RowBatch, as it is sent
  std::vector<int32_t> sequences_;
  int max_position_ = 0;
  Scratch memory_, tile_memory_;
  cuda::DeviceBatch on_device_;
  std::vector<cuda::RowTile> tiles_;
  int tile_rows_ = 0;       // that tiles_ are made for; 0: not yet
  int last_tile_rows_ = 0;  // of the batch before
  const cuda::RowTile* device_tiles_ = nullptr;
};

void Batch::Begin(const RowBatch& batch) {
  host_.clear();
  sequences_.assign(batch.sequences.begin(), batch.sequences.end());
  const auto append = [&](std::span<const int32_t> values) {
    const size_t at = host_.size();
    host_.insert(host_.end(), values.begin(), values.end());
    if (is_small()) host_.resize(at + kSmallBatch);
    return at;
  };
  const size_t tokens = append(batch.token_ids);
  const size_t positions = append(batch.positions);
  const size_t sequences = append(batch.sequences);
  const size_t slots = append(batch.draft_slots);
  const size_t tables = host_.size();
  const int blocks = batch.max_blocks_per_sequence;
  const int stride = is_small() ? RoundUp(blocks) : blocks;
  for (size_t at = 0; at + blocks <= batch.block_tables.size() && blocks > 0; at += blocks) {
    const auto table = batch.block_tables.subspan(at, blocks);
    host_.insert(host_.end(), table.begin(), table.end());
    host_.resize(host_.size() + stride - blocks);
  }
  if (tile_rows_ > 0) last_tile_rows_ = tile_rows_;
  tile_rows_ = 0;
  max_position_ = 0;
  for (const int32_t position : batch.positions) max_position_ = std::max(max_position_, position);
  if (sequences_.empty()) return;
  auto* const device = static_cast<int32_t*>(memory_.Get(device_, host_.size() * sizeof(int32_t)));
  device_->Upload(device, std::as_bytes(std::span(host_)));
  if (!batch.draft_slots.empty()) {
    cuda::TakeDrafts(device_->stream(), device + slots,
                     static_cast<const CudaChooser*>(batch.chooser)->drafts(),
                     static_cast<int64_t>(batch.draft_slots.size()), batch.first_token,
                     batch.num_tokens, device + tokens);
  }
  on_device_ = {device + tokens, device + positions, device + sequences, device + tables, stride};
}

void Batch::AppendTo(GraphCache::Key* key) {
  // Sends the tiles, which a recording must not.
  if (last_tile_rows_ > 0) Tiles(last_tile_rows_);
  key->push_back(reinterpret_cast<uint64_t>(on_device_.token_ids));
  key->push_back(static_cast<uint64_t>(on_device_.max_blocks_per_sequence));
  key->push_back(static_cast<uint64_t>(num_partitions()));
  key->push_back(tile_rows_ > 0 ? tiles_.size() : 0);
  key->push_back(reinterpret_cast<uint64_t>(device_tiles_));
}

std::span<const cuda::RowTile> Batch::Tiles(int max_rows) {
  if (tile_rows_ == max_rows) return tiles_;
  tile_rows_ = max_rows;
  tiles_.clear();
  const int num_rows = static_cast<int>(sequences_.size());
  for (int row = 0; row < num_rows; ++row) {
    const bool joins =
        row > 0 && sequences_[row] == sequences_[row - 1] && tiles_.back().num_rows < max_rows;
    if (joins) {
      ++tiles_.back().num_rows;
    } else {
      tiles_.push_back({row, 1});
    }
  }
  if (is_small()) tiles_.resize(RoundUp(static_cast<int>(tiles_.size())));
  const auto bytes = std::as_bytes(std::span(tiles_));
  void* device = tile_memory_.Get(device_, bytes.size());
  device_->Upload(device, bytes);
  device_tiles_ = static_cast<const cuda::RowTile*>(device);
  return tiles_;
}

class CudaBackend : public Backend {
 public:
  CudaBackend(std::shared_ptr<Device> device, const CudaBackendOptions& options)
      : options_(options),
        device_(std::move(device)),
        products_(device_, options.deterministic),
        batch_(device_) {}

  std::string Description() const override {
    return "cuda GPU " + std::to_string(device_->index()) + " (" + device_->name() + "), " +
           NameOf(options_.weights) + " weights" +
           (options_.deterministic ? ", deterministic" : "");
  }
  DType operand_dtype() const override { return FloatTypeOf(options_.weights); }

  Buffer Allocate(size_t size_bytes) override {
    return Device::AllocateZeroed(device_, size_bytes);
  }
  void CopyToDevice(void* device, const void* host, size_t size_bytes) override {
    device_->Select();
    device_->Upload(device, {static_cast<const std::byte*>(host), size_bytes});
  }
  std::unique_ptr<Matrix> LoadMatrix(std::span<const HostMatrix> parts) override {
    device_->Select();
    return CudaMatrix::Load(device_, options_.weights, parts, /*gated=*/false);
  }
  std::unique_ptr<Matrix> LoadGatedMatrix(const HostMatrix& gate, const HostMatrix& up) override {
    device_->Select();
    const HostMatrix parts[] = {gate, up};
    return CudaMatrix::Load(device_, options_.weights, parts, /*gated=*/true);
  }
  std::unique_ptr<Matrix> SelectRows(const Matrix& w, std::span<const int32_t> rows) override {
    device_->Select();
    return CudaMatrix::Select(device_, static_cast<const CudaMatrix&>(w), rows);
  }
  std::unique_ptr<EmbeddingTable> LoadEmbedding(const HostMatrix& table) override {
    device_->Select();
    return std::make_unique<CudaEmbedding>(device_, table);
  }
  std::unique_ptr<KvCache> CreateKvCache(const KvCacheShape& shape) override {
    return std::make_unique<CudaKvCache>(device_, shape, FloatTypeOf(options_.weights));
  }
  std::unique_ptr<Chooser> CreateChooser(const ChooserLimits& limits) override {
    return std::make_unique<CudaChooser>(device_, limits);
  }

  void BeginBatch(const RowBatch& batch) override {
    device_->Select();
    batch_.Begin(batch);
  }
  void Repeat(uint64_t key, const std::function<void()>& operations) override;
  void Embed(const EmbeddingTable& table, TensorView x) override {
    const auto& embedding = static_cast<const CudaEmbedding&>(table);
    cuda::EmbedRows(Stream(), embedding.data(), embedding.dtype(), batch_.on_device().token_ids,
                    x.rows, x.cols, x.as<float>());
  }
  void RmsNorm(ConstTensorView x, const float* weight, float eps, TensorView out) override {
    cuda::NormRows(Stream(), x.as<float>(), weight, eps, x.rows, x.cols, out.data, out.dtype);
  }
  void MatMul(ConstTensorView a, const Matrix& w, Epilogue epilogue, TensorView out) override {
    device_->Select();
    products_.Multiply(a, static_cast<const CudaMatrix&>(w).weights(),
                       epilogue == Epilogue::kAdd ? Output::kAdd : Output::kStore, out);
  }
  void GatedMatMul(ConstTensorView a, const Matrix& w, TensorView out) override {
    device_->Select();
    products_.Multiply(a, static_cast<const CudaMatrix&>(w).weights(), Output::kGate, out);
  }
  void RopeAndAppendKv(TensorView qkv, const AttentionShape& shape, const RopeTable& rope,
                       KvCache& kv, int layer) override {
    cuda::AppendKv(Stream(), qkv.as<float>(), qkv.rows, shape, rope, batch_.on_device(),
                   static_cast<CudaKvCache&>(kv).Layer(layer));
  }
  void PagedAttention(ConstTensorView qkv, const AttentionShape& shape, const KvCache& kv,
                      int layer, TensorView out) override;

  void GatherRows(ConstTensorView src, std::span<const int32_t> indices, TensorView dst) override {
    cuda::GatherRows(Stream(), src.as<float>(), OnDevice(indices), dst.rows, dst.cols,
                     dst.as<float>());
  }
  void ScatterRows(ConstTensorView src, std::span<const int32_t> indices, TensorView dst) override {
    cuda::ScatterRows(Stream(), src.as<float>(), OnDevice(indices), src.rows, src.cols,
                      dst.as<float>());
  }

  const float* ReadBack(ConstTensorView x) override {
    const size_t size_bytes = static_cast<size_t>(x.rows * x.cols) * sizeof(float);
    auto* host = static_cast<float*>(read_.Get(std::max<size_t>(size_bytes, 1)));
    if (size_bytes > 0) {
      Check(cudaMemcpyAsync(host, x.data, size_bytes, cudaMemcpyDeviceToHost, Stream()),
            "reading results");
    }
    Synchronize();
    return host;
  }
  void Synchronize() override {
    device_->Select();
    device_->Synchronize();
  }

 private:
  cudaStream_t Stream() {
    device_->Select();
    return device_->stream();
  }
  const int32_t* OnDevice(std::span<const int32_t> indices) {
    if (indices.empty()) return nullptr;
    void* memory = indices_.Get(device_, indices.size_bytes());
    device_->Upload(memory, std::as_bytes(indices));
    return static_cast<const int32_t*>(memory);
  }

  const CudaBackendOptions options_;
  const std::shared_ptr<Device> device_;
  cuda::Products products_;
  Batch batch_;
  Scratch indices_, partials_;
  ReadBuffer read_;
  GraphCache graphs_{kMostGraphs};
  GraphCache::Key graph_key_;
};

void CudaBackend::Repeat(uint64_t key, const std::function<void()>& operations) {
  if (!options_.graphs || !batch_.is_small()) return operations();
  device_->Select();
  graph_key_.assign({key, reinterpret_cast<uint64_t>(products_.scratch()),
                     reinterpret_cast<uint64_t>(partials_.data())});
  batch_.AppendTo(&graph_key_);
  graphs_.Run(device_->stream(), graph_key_, operations);
}

void CudaBackend::PagedAttention(ConstTensorView qkv, const AttentionShape& shape,
                                 const KvCache& kv, int layer, TensorView out) {
  if (qkv.rows == 0) return;
  const cudaStream_t stream = Stream();
  cuda::AttentionTask task;
  task.qkv = qkv.as<float>();
  task.rows = qkv.rows;
  task.shape = shape;
  task.batch = batch_.on_device();
  task.kv = static_cast<const CudaKvCache&>(kv).Layer(layer);
  task.num_tiles = static_cast<int64_t>(batch_.Tiles(cuda::MaxTileRows(shape)).size());
  task.tiles = batch_.device_tiles();
  task.out = out.data;
  task.num_partitions = batch_.num_partitions();
  const int64_t num_blocks = task.num_tiles * shape.num_kv_heads;
  if (task.num_partitions > 1 && num_blocks < kFewBlocks * device_->num_processors()) {
    task.partials = static_cast<float*>(
        partials_.Get(device_, task.rows * shape.num_heads * task.num_partitions *
                                   cuda::PartialFloats(shape.head_dim) * sizeof(float)));
  }
  cuda::Attend(stream, task);
}

}  // namespace

bool HasCudaBackend() { return true; }

std::unique_ptr<Backend> cuda::CreateBackendOn(std::shared_ptr<Device> device,
                                               const CudaBackendOptions& options) {
  return std::make_unique<CudaBackend>(std::move(device), options);
}

std::unique_ptr<Backend> CreateCudaBackend(const CudaBackendOptions& options) {
  return cuda::CreateBackendOn(Device::Open(options.device), options);
}

}  // namespace strata::kernels
